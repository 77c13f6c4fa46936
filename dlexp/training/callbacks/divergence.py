"""The callback that ends a training whose loss is no longer finite."""

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
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Looks at the loss of the epoch so far, which one bad step makes infinite or NaN for good."""
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise DivergedError(self._epoch * self.params["steps"] + batch + 1)
