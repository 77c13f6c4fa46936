"""A training made short: all that takes memory happens, only less often."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset
from dlexp.errors import PrunedError
from dlexp.models.keras_internals import steps_per_call
from dlexp.training.preparation import Setup, prepare

_CALLS = 2  # of the train function in an epoch, at least
_EPOCHS = 2  # the second one trains while the checkpoint of the first is written
_BATCHES = 2  # of the validation and of the test split


def shorten_config(config: ExperimentConfig, *, store: str) -> ExperimentConfig:
    """Returns the config of a run that takes as much memory and leaves no trace outside of a temporary store.

    The learning rate is tiny, so that no loss diverges. A metric that the few examples may not define is not monitored.
    Images are not cached, as that would decode all of them: `unmeasured_bytes` counts their memory. Only dlexp's own
    trackers are attached.
    """
    monitor, mode = config.selection.monitor, config.selection.monitor_mode
    is_safe = monitor in ("val_loss", "val_accuracy") or mode != "auto"
    return config.replace(
        monitor=monitor if is_safe else "val_loss",
        store=store, tracking_uri="", wandb=False, trackers=[], tags={}, run_name="", experiment="probes",
        allow_batch_size_change=True, cache="none", verbose=0, learning_rate=1e-9, early_stopping_patience=0,
    )  # fmt: skip


def prepare_short(config: ExperimentConfig, *, initialize: bool, calls: int) -> Setup:
    """Prepares a training whose epochs, validation and test end after a few batches.

    Args:
        config: of the training.
        initialize: see `prepare`.
        calls: calls of the train function in an epoch; fewer than two are two.
    """
    setup = prepare(
        config, initialize=initialize, choose_examples=lambda dataset: shorten_splits(dataset, config.data.batch_size)
    )
    setup.datasets.end_epochs_after(max(calls, _CALLS) * steps_per_call(setup.model))
    return setup


def shorten_splits(dataset: Dataset, batch_size: int) -> Dataset:
    """Returns the dataset with fewer validation and test examples: a few batches of all classes, in the old order."""
    splits = dataset.manifest["split"].to_numpy(dtype=object, copy=True)
    for split in ("validation", "test"):
        rows = dataset.rows(split)
        rows = rows[np.argsort(dataset.manifest["label"].to_numpy()[rows], kind="stable")]
        kept = rows[np.linspace(0, len(rows) - 1, min(len(rows), _BATCHES * batch_size)).astype(int)]
        splits[np.setdiff1d(rows, kept)] = "not used"
    return dataclasses.replace(dataset, manifest=dataset.manifest.assign(split=splits))


class ShortTraining(keras.callbacks.Callback):
    """Ends the training after a few epochs, and measures the speed of its last steps.

    Args:
        batch_size: examples in a step.
        measure: returns the peak memory so far, in bytes.
        whole_run: let the run evaluate its best checkpoint; if False, PrunedError ends it after the training.
        while_timing: context of the steps that are timed.

    Attributes:
        training_bytes: peak memory of the training.
        images_per_second: of the calls of the last epoch, without the first call of all, which traces.
    """

    def __init__(
        self,
        batch_size: int,
        *,
        measure: Callable[[], int],
        whole_run: bool,
        while_timing: contextlib.AbstractContextManager[Any],
    ) -> None:
        super().__init__()
        self.training_bytes, self.images_per_second = 0, 0.0
        self._batch_size, self._measure, self._whole_run = batch_size, measure, whole_run
        self._timing, self._last_epoch, self._epoch = while_timing, 0, 0
        self._started, self._calls, self._timed_images = 0.0, 0, 0

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Finds the epoch that is timed."""
        self._last_epoch = min(_EPOCHS, self.params["epochs"]) - 1

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clock at the first call that is timed."""
        if self._epoch == self._last_epoch and self._calls and not self._started:
            self._timing.__enter__()
            self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Stops the clock after the last call of the epoch."""
        self._calls += 1
        if not self._started:
            return
        self._timed_images += steps_per_call(self.model) * self._batch_size
        if batch + 1 >= self.params["steps"]:
            self.images_per_second = self._timed_images / (time.perf_counter() - self._started)
            self._timing.__exit__(None, None, None)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Ends the training; raises PrunedError if the run ends with it."""
        self.training_bytes = self._measure()
        if epoch == self._last_epoch:
            self.model.stop_training = True
            if not self._whole_run:
                raise PrunedError("the training of the probe is over")
