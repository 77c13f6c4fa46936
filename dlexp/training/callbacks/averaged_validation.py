"""Validation with the moving average of the weights."""

from typing import Any

import keras

from dlexp.checkpoints.averages import swap_weights


class AveragedValidation(keras.callbacks.Callback):
    """Validates with the averaged weights; must come first of all callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self._swapped = False

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the averages in."""
        swap_weights(self.model)
        self._swapped = True

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Puts the weights back."""
        self.restore()

    def restore(self) -> None:
        """Puts the weights back, if a validation is under way."""
        if self._swapped:
            swap_weights(self.model)
            self._swapped = False
