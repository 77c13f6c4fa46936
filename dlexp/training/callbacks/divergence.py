"""Ends a training whose loss is no longer finite."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from dlexp.errors import DivergedError


class DivergenceGuard(keras.callbacks.Callback):
    """Raises DivergedError when the training loss is not finite, before any checkpoint could take the weights."""

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Remembers the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Checks the mean loss of the epoch so far: one bad step makes it infinite or NaN until the epoch ends."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise DivergedError(self._epoch * self.params["steps"] + batch + 1)
