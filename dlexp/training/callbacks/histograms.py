"""Logs histograms of weights and gradients."""

from collections.abc import Mapping

import keras

from dlexp.tracking.base import Tracker
from dlexp.training.gradients import GradientWatch
from dlexp.training.step_counter import StepCounter


class HistogramLogger(keras.callbacks.Callback):
    """Passes every trainable weight, and its gradient at the last step, to the trackers after each epoch.

    Args:
        tracker: receives the arrays.
        gradients: records the gradients, with `keep`.
        steps: counts the training steps.
        written_epochs: number of epochs that are logged already; a resumed run may repeat some of them.
    """

    def __init__(
        self, tracker: Tracker, gradients: GradientWatch, steps: StepCounter, *, written_epochs: int = 0
    ) -> None:
        super().__init__()
        self._tracker, self._gradients, self._steps = tracker, gradients, steps
        self._written_epochs = written_epochs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Logs the arrays at the step that the points of the epoch have."""
        if epoch < self._written_epochs:
            return
        values = {f"weights/{weight.path}": weight.numpy() for weight in self.model.trainable_variables}
        values |= {f"gradients/{name}": array for name, array in self._gradients.gradients().items()}
        self._tracker.log_histograms(values, step=self._steps.taken())
