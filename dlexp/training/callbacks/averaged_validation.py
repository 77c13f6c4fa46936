"""Validation with the moving average of the weights."""

from typing import Any

import keras

from dlexp.checkpoints.averages import swap_weights


class AveragedValidation(keras.callbacks.Callback):
    """Validates with the averaged weights; must be the first callback, so that all others see them."""

    def __init__(self) -> None:
        super().__init__()
        self._swapped = False

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Swaps the averages in."""
        swap_weights(self.model)
        self._swapped = True

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Swaps the weights back in."""
        self.restore()

    def restore(self) -> None:
        """Swaps the weights back in, if a validation is running."""
        if self._swapped:
            swap_weights(self.model)
            self._swapped = False
