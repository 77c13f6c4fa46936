"""The callbacks of a training, in an order that matters.

1. `AveragedValidation` swaps in averaged weights before anything looks at a validation.
2. `PointLogger` records the epoch first, so that no checkpoint tells of an epoch that the record does not have.
3. `EarlyStopping` and whatever else changes the course of the training, as the checkpoints hold what these remember.
4. `BestCheckpoint`, then 5. `LastCheckpoint`: the best file stands before the last one speaks of it.
6. `GraphWriter`, `HistogramWriter` and MLflow's `Autolog` only look.
7. The progress display comes last and shows an epoch when it is done.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from dlexp.averaging import AveragedValidation
from dlexp.checkpoints.manager import BestCheckpoint, LastCheckpoint
from dlexp.checkpoints.writer import CheckpointWriter
from dlexp.config import ExperimentConfig
from dlexp.datasets import Datasets
from dlexp.runs import Point, Run, now
from dlexp.tracking.base import Tracker
from dlexp.tracking.mlflow import Autolog
from dlexp.tracking.tensorboard import FOLDER, GraphWriter, HistogramWriter


class PointLogger(keras.callbacks.Callback):
    """Writes the metrics of every epoch to `metrics.jsonl` and to the trackers.

    Beside what Keras measures: `learning_rate` of the last step, `epoch_seconds` and `images_per_second` of the epoch's
    training, validation not counted.
    """

    def __init__(self, run: Run, tracker: Tracker, *, images_per_epoch: int) -> None:
        super().__init__()
        self._run, self._tracker, self._images_per_epoch = run, tracker, images_per_epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clock."""
        self._started, self._train_seconds = time.perf_counter(), 0.0
        self._first_step = int(self.model.optimizer.iterations.numpy())

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Stops the clock: what follows is validation."""
        self._train_seconds = time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Records the epoch."""
        seconds = self._train_seconds or time.perf_counter() - self._started
        values = dict(logs or {}) | {
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),
            "epoch_seconds": seconds,
            "images_per_second": self._images_per_epoch / seconds,
        }
        points = make_points(values, step=int(self.model.optimizer.iterations.numpy()), epoch=epoch + 1)
        self._run.append_points(points)
        self._tracker.log_points(points)


def make_points(values: Mapping[str, float], *, step: int, epoch: int) -> list[Point]:
    """Points of one moment from values by key."""
    moment = now()
    return [Point(key, step, epoch, float(value), moment) for key, value in values.items()]


@dataclass(frozen=True)
class CallbackList:
    """The callbacks of a training, and those among them that keep checkpoints.

    Attributes:
        callbacks: in the order of this module.
        best: keeps the best checkpoint.
        last: keeps the newest checkpoint.
    """

    callbacks: Sequence[keras.callbacks.Callback]
    best: BestCheckpoint
    last: LastCheckpoint


def build_callbacks(
    config: ExperimentConfig,
    *,
    run: Run,
    tracker: Tracker,
    datasets: Datasets,
    writer: CheckpointWriter,
    progress: keras.callbacks.Callback,
) -> CallbackList:
    """Makes the callbacks of a training, in the order of this module."""
    selection, mode = config.selection, monitor_mode(config.selection.monitor, config.selection.monitor_mode)
    best = BestCheckpoint(writer, run=run, monitor=selection.monitor, mode=mode)
    last = LastCheckpoint(writer, run=run, monitor=selection.monitor)
    callbacks: list[keras.callbacks.Callback] = []
    if config.optimization.ema_decay:
        callbacks.append(AveragedValidation())
    callbacks.append(PointLogger(run, tracker, images_per_epoch=datasets.dataset.count("train")))
    if selection.early_stopping_patience:
        patience = selection.early_stopping_patience
        callbacks.append(keras.callbacks.EarlyStopping(selection.monitor, patience=patience, mode=mode))
    callbacks += [best, last, *_observers(config, run=run, datasets=datasets), progress]
    writer.watch(callbacks)
    return CallbackList(callbacks, best, last)


def _observers(config: ExperimentConfig, *, run: Run, datasets: Datasets) -> list[keras.callbacks.Callback]:
    tracking, folder = config.tracking, str(run.path / FOLDER)
    observers: list[Any] = []
    if tracking.tensorboard:
        images = datasets.validation.element_spec[0]
        observers.append(GraphWriter(folder, image_shape=datasets.dataset.image_shape, dtype=images.dtype))
        if tracking.histograms:
            observers.append(HistogramWriter(folder, next(iter(datasets.validation))))
    if tracking.mlflow_autolog:
        observers.append(Autolog())
    return observers


def monitor_mode(monitor: str, mode: str) -> str:
    """`min` or `max` for a monitored metric: as given, or for `auto` by its name: losses and errors should be small."""
    if mode != "auto":
        return mode
    small_is_better = ("loss", "error", "entropy", "divergence", "hinge", "poisson", "false")
    return "min" if any(word in monitor for word in small_is_better) else "max"
