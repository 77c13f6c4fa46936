"""The callback that shows how weights and gradients are distributed."""

from collections.abc import Mapping

import keras

from dlexp.tracking.base import Tracker
from dlexp.training.gradients import GradientWatch


class HistogramLogger(keras.callbacks.Callback):
    """Gives the trackers every trainable weight, and its gradient in the last step, after each epoch.

    Args:
        tracker: where they go.
        gradients: of the training, kept.
        written_epochs: epochs whose histograms are there: a resumed run goes through some of them again.
    """

    def __init__(self, tracker: Tracker, gradients: GradientWatch, *, written_epochs: int = 0) -> None:
        super().__init__()
        self._tracker, self._gradients, self._written_epochs = tracker, gradients, written_epochs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Hands the arrays over, with the step that the points of the epoch have."""
        if epoch < self._written_epochs:
            return
        values = {f"weights/{each.path}": each.numpy() for each in self.model.trainable_variables}
        values |= {f"gradients/{name}": array for name, array in self._gradients.gradients().items()}
        self._tracker.log_histograms(values, step=int(self.model.optimizer.iterations.numpy()))
