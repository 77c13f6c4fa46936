"""Saves and ends a training after a signal."""

from collections.abc import Mapping

import keras
import numpy as np

from dlexp.checkpoints.manager import LastCheckpoint
from dlexp.checkpoints.snapshot import Position
from dlexp.machine.signals import StopRequests
from dlexp.models.keras_internals import metric_variables
from dlexp.training.callbacks.averaged_validation import AveragedValidation


class InterruptionGuard(keras.callbacks.Callback):
    """After a signal, saves a checkpoint and ends the training before the next step of training or validation.

    Args:
        requests: hold the signals that have come.
        last: saves the checkpoint.
        averaging: swaps the weights back in if a validation is using their averages; None without averages.
    """

    def __init__(self, requests: StopRequests, *, last: LastCheckpoint, averaging: AveragedValidation | None) -> None:
        super().__init__()
        self._requests, self._last, self._averaging = requests, last, averaging
        self._train_metrics: list[np.ndarray] = []

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves and raises, if a signal has come."""
        if self._requests.signal is not None:
            self._leave(self._last.position(batch))

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Copies the training metrics, which validation is about to reset."""
        self._train_metrics = [np.array(variable.numpy()) for variable in metric_variables(self.model)]

    def on_test_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves as if before the validation and raises, if a signal has come."""
        if self._requests.signal is not None:
            if self._averaging is not None:
                self._averaging.restore()
            for variable, value in zip(metric_variables(self.model), self._train_metrics, strict=True):
                variable.assign(value)
            self._leave(self._last.position(self.params["steps"]))

    def _leave(self, position: Position) -> None:
        if position.step:  # before the first step there is nothing to save
            self._last.save(position)
        self._requests.check()
