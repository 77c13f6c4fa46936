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

_CALLS = 3  # of the train function in an epoch, at least; the last step has a smaller batch, as in a whole epoch
_EPOCHS = 2  # the second one trains while the checkpoint of the first is written
_BATCHES = 2  # whole ones of the validation and of the test split


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


def shorten_splits(dataset: Dataset, batch_size: int) -> Dataset:
    """Returns the dataset with fewer validation and test examples: a few batches of all classes, in the old order.

    The last batch is as small as that of the whole split: buffers of another size do not fit into those that were
    freed, so the peak is higher.
    """
    splits = dataset.manifest["split"].to_numpy(dtype=object, copy=True)
    for split in ("validation", "test"):
        rows = dataset.rows(split)
        rows = rows[np.argsort(dataset.manifest["label"].to_numpy()[rows], kind="stable")]
        count = min(len(rows), _BATCHES * batch_size + len(rows) % batch_size)
        kept = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
        splits[np.setdiff1d(rows, kept)] = "not used"
    return dataclasses.replace(dataset, manifest=dataset.manifest.assign(split=splits))


class ShortTraining(keras.callbacks.Callback):
    """Ends every epoch after a few steps, and the training after a few epochs; measures the speed of its last steps.

    Args:
        calls: calls of the train function in an epoch; few are `_CALLS`.
        measure: returns the peak memory so far, in bytes.
        whole_run: let the run evaluate its best checkpoint; if False, PrunedError ends it after the training.
        while_timing: context of the steps that are timed.

    Attributes:
        setup: of the training, once it is prepared.
        training_bytes: peak memory of the training.
        images_per_second: of the calls of the last epoch, without the first call of all, which traces.
    """

    def __init__(
        self,
        *,
        calls: int,
        measure: Callable[[], int],
        whole_run: bool,
        while_timing: contextlib.AbstractContextManager[Any],
    ) -> None:
        super().__init__()
        self.setup: Setup
        self.training_bytes, self.images_per_second = 0, 0.0
        self._calls, self._measure, self._whole_run = max(calls, _CALLS), measure, whole_run
        self._timing, self._last_epoch, self._is_traced = while_timing, 0, False
        self._epoch, self._started, self._images_before = 0, 0.0, 0

    def prepare(self, config: ExperimentConfig, *, initialize: bool = True) -> Setup:
        """Prepares a training whose epochs, validation and test have few batches; see `preparation.prepare`."""
        self.setup = prepare(
            config,
            initialize=initialize,
            choose_examples=lambda dataset: shorten_splits(dataset, config.data.evaluation_batch_size),
        )
        self.setup.datasets.shorten_epochs(self._calls * steps_per_call(self.setup.model))
        return self.setup

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Finds the epoch that is timed."""
        self._last_epoch = min(_EPOCHS, self.params["epochs"]) - 1

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clock at the first call that is timed."""
        if self._epoch == self._last_epoch and self._is_traced and not self._started:
            self._images_before = self._images_until(batch)
            self._timing.__enter__()
            self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Stops the clock after the last call of the epoch."""
        self._is_traced = True
        if self._started and batch + 1 >= self.params["steps"]:
            images = self._images_until(batch + 1) - self._images_before
            self.images_per_second = images / (time.perf_counter() - self._started)
            self._timing.__exit__(None, None, None)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Ends the training; raises PrunedError if the run ends with it."""
        self.training_bytes = self._measure()
        if epoch == self._last_epoch:
            self.model.stop_training = True
            if not self._whole_run:
                raise PrunedError("the training of the probe is over")

    def _images_until(self, step: int) -> int:
        """Images of an epoch before one of its steps."""
        datasets = self.setup.datasets
        return min(step * datasets.batch_size, datasets.examples_per_epoch)
