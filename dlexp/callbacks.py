"""The callbacks of a training, in an order that matters.

1. `AveragedValidation` swaps in averaged weights before anything looks at a validation.
2. `PointLogger` records the epoch first, so that no checkpoint tells of an epoch that the record does not have.
3. `DivergenceGuard`, then what changes the course of the training: callbacks of plug-ins, `ReduceLROnPlateau`,
   `EarlyStopping`. Checkpoints come later, as they hold what these remember.
4. `BestCheckpoint`, then 5. `LastCheckpoint`: the best file stands before the last one speaks of it.
6. `InterruptionGuard` saves and leaves when a signal has come.
7. `GraphWriter`, `HistogramWriter` and MLflow's `Autolog` only look.
8. The progress display comes last and shows an epoch when it is done.
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
from dlexp.guards import DivergenceGuard, InterruptionGuard
from dlexp.interruption import StopRequests
from dlexp.points import Point, PointLog
from dlexp.registry import CALLBACKS
from dlexp.runs import now
from dlexp.session import RunSession
from dlexp.tracking.base import Tracker
from dlexp.tracking.mlflow import Autolog
from dlexp.tracking.tensorboard import FOLDER, GraphWriter, HistogramWriter

_PLATEAU_FACTOR = 0.1


class PointLogger(keras.callbacks.Callback):
    """Writes the metrics of every epoch to `metrics.jsonl` and to the trackers.

    Beside what Keras measures: `learning_rate` of the last step, `epoch_seconds` and `images_per_second` of the epoch's
    training, validation not counted.

    Args:
        log: of the run.
        tracker: is given what is new in the log.
        images_per_epoch: training examples.
    """

    def __init__(self, log: PointLog, tracker: Tracker, *, images_per_epoch: int) -> None:
        super().__init__()
        self._log, self._tracker, self._images_per_epoch = log, tracker, images_per_epoch

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
        step = int(self.model.optimizer.iterations.numpy())
        values = dict(logs or {}) | {"learning_rate": float(self.model.optimizer.learning_rate.numpy())}
        share = (step - self._first_step) / self.params["steps"]  # less than 1 in an epoch that another process began
        if share:
            values["images_per_second"] = share * self._images_per_epoch / seconds
        if share == 1:
            values["epoch_seconds"] = seconds
        self._tracker.log_points(self._log.append(make_points(values, step=step, epoch=epoch + 1)))


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
    session: RunSession,
    datasets: Datasets,
    writer: CheckpointWriter,
    progress: keras.callbacks.Callback,
    requests: StopRequests,
) -> CallbackList:
    """Makes the callbacks of a training, in the order of this module."""
    run, selection = session.run, config.selection
    monitor, mode = selection.monitor, monitor_mode(selection.monitor, selection.monitor_mode)
    best = BestCheckpoint(writer, run=run, monitor=monitor, mode=mode, keep_top=selection.keep_top)
    last = LastCheckpoint(writer, run=run, monitor=monitor, save_every_steps=config.execution.save_every_steps)
    averaging = AveragedValidation() if config.optimization.ema_decay else None
    callbacks: list[keras.callbacks.Callback] = [averaging] if averaging else []
    callbacks.append(PointLogger(session.log, session.tracker, images_per_epoch=datasets.examples_per_epoch))
    callbacks += [DivergenceGuard(), *_steering(config, mode=mode), best, last]
    callbacks.append(InterruptionGuard(requests, last=last, averaging=averaging))
    callbacks += [*_observers(config, session=session, datasets=datasets), progress]
    writer.watch(callbacks)
    return CallbackList(callbacks, best, last)


def _steering(config: ExperimentConfig, *, mode: str) -> list[keras.callbacks.Callback]:
    """What changes the course of a training."""
    monitor, patience = config.selection.monitor, config.selection.early_stopping_patience
    steering: list[keras.callbacks.Callback] = [CALLBACKS.get(name)() for name in config.optimization.callbacks]
    if config.optimization.lr_schedule == "plateau":
        steering.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor, mode=mode, factor=_PLATEAU_FACTOR, patience=config.optimization.plateau_patience
            )
        )
    if patience:
        steering.append(keras.callbacks.EarlyStopping(monitor, patience=patience, mode=mode))
    return steering


def _observers(config: ExperimentConfig, *, session: RunSession, datasets: Datasets) -> list[keras.callbacks.Callback]:
    tracking, folder = config.tracking, str(session.run.path / FOLDER)
    observers: list[Any] = []
    if tracking.tensorboard:
        images = datasets.validation.element_spec[0]
        observers.append(GraphWriter(folder, image_shape=datasets.dataset.image_shape, dtype=images.dtype))
        if tracking.histograms:
            written = max((point.epoch for point in session.log.points), default=0)
            observers.append(HistogramWriter(folder, next(iter(datasets.validation)), written_epochs=written))
    if tracking.mlflow_autolog and session.in_mlflow and not session.resumed:
        observers.append(Autolog())
    return observers


def monitor_mode(monitor: str, mode: str) -> str:
    """`min` or `max` for a monitored metric: as given, or for `auto` by its name: losses and errors should be small."""
    if mode != "auto":
        return mode
    small_is_better = ("loss", "error", "entropy", "divergence", "hinge", "poisson", "false")
    return "min" if any(word in monitor for word in small_is_better) else "max"
