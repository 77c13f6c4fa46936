"""TensorBoard: scalars, the graph of the model, and histograms of weights and gradients."""

import pathlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import keras
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dlexp.errors import StoreError
from dlexp.points import Point
from dlexp.runs import Status
from dlexp.tracking.base import RunDescription, Tracker

FOLDER = "tensorboard"
_SCALARS = ".scalars"


class TensorBoardTracker(Tracker):
    """Writes scalars into `tensorboard/` of the run folder; the step is the number of optimizer steps."""

    name = "TensorBoard"

    def __init__(self) -> None:
        self._writer: EventFileWriter | None = None

    def start(self, description: RunDescription) -> None:
        """Opens the event file."""
        self._writer = EventFileWriter(str(description.run.path / FOLDER), filename_suffix=_SCALARS)

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Writes all points anew: what a killed process has left may end in the midst of one."""
        for path in (description.run.path / FOLDER).glob(f"*{_SCALARS}"):
            path.unlink()
        self.start(description)
        self.log_points(points)

    def log_points(self, points: Sequence[Point]) -> None:
        """Writes points as scalars, at the times when they were measured."""
        if self._writer is None:
            raise StoreError("the event file is not open: call start() first")
        for point in points:
            moment = datetime.fromisoformat(point.time).timestamp()
            summary = scalar_pb(point.key, point.value)
            self._writer.add_event(Event(wall_time=moment, step=point.step, summary=summary))
        self._writer.flush()

    def finish(self, status: Status) -> None:
        """Closes the event file."""
        if self._writer is not None:
            self._writer.close()


class GraphWriter(keras.callbacks.Callback):
    """Writes the graph of the model's forward pass, once, after the first epoch so that it delays no first step.

    Args:
        folder: of the event file.
        image_shape: (height, width, channels).
        dtype: of the images, as the model is trained on them.
    """

    def __init__(self, folder: str, *, image_shape: tuple[int, int, int], dtype: Any) -> None:
        super().__init__()
        self._folder = "" if any(pathlib.Path(folder).glob("*.graph")) else folder  # a resumed run has it already
        self._spec = tf.TensorSpec((None, *image_shape), dtype)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the graph after the first epoch."""
        if self._folder:
            forward = tf.function(lambda images: self.model(images, training=False))
            writer = tf.summary.create_file_writer(self._folder, filename_suffix=".graph")
            with writer.as_default():
                tf.summary.graph(forward.get_concrete_function(self._spec).graph)
            writer.close()
            self._folder = ""


class HistogramWriter(keras.callbacks.Callback):
    """Writes a histogram of every trainable weight and of its gradient on one batch, after each epoch.

    Args:
        folder: of the event files.
        batch: images and one-hot labels that the gradients are taken on, the same in every epoch.
        written_epochs: epochs whose histograms are there: a resumed run goes through some of them again.
    """

    def __init__(self, folder: str, batch: tuple[Any, Any], *, written_epochs: int = 0) -> None:
        super().__init__()
        self._written_epochs = written_epochs
        self._writer = tf.summary.create_file_writer(folder, filename_suffix=".histograms")
        self._images, self._labels = batch
        self._gradients = tf.function(self._compute_gradients)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the histograms, at the step that the scalars of the epoch have."""
        if epoch < self._written_epochs:
            return
        step = int(self.model.optimizer.iterations.numpy())
        with self._writer.as_default():
            for variable, gradient in zip(self.model.trainable_variables, self._gradients(), strict=True):
                tf.summary.histogram(f"weights/{variable.path}", variable.value, step=step)
                tf.summary.histogram(f"gradients/{variable.path}", gradient, step=step)
        self._writer.flush()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Closes the event file."""
        self._writer.close()

    def _compute_gradients(self) -> list[Any]:
        # Without training=True no dropout mask is drawn, so that looking at a training does not change it.
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(
                x=self._images, y=self._labels, y_pred=self.model(self._images, training=False), training=False
            )
        values = [variable.value for variable in self.model.trainable_variables]
        return list(tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO))
