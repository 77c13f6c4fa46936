"""TensorBoard: scalars, the graph of the model, and histograms of weights and gradients."""

import pathlib
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dlexp.config import TrackingConfig
from dlexp.errors import StoreError
from dlexp.points import Point
from dlexp.registry import register_tracker
from dlexp.runs import Status
from dlexp.tracking.base import RunDescription, Tracker

FOLDER = "tensorboard"
_SCALARS, _MEDIA = ".scalars", ".media"


@register_tracker("tensorboard")
class TensorBoardTracker(Tracker):
    """Writes scalars, pictures and histograms into `tensorboard/` of the run folder; the step is that of the optimizer.

    Args:
        tracking: not used; every tracker is made from it.
    """

    name = "TensorBoard"

    def __init__(self, tracking: TrackingConfig) -> None:
        self._scalars: EventFileWriter | None = None
        self._media: EventFileWriter | None = None

    def start(self, description: RunDescription) -> None:
        """Opens the event files."""
        folder = str(description.run.path / FOLDER)
        self._scalars = EventFileWriter(folder, filename_suffix=_SCALARS)
        self._media = EventFileWriter(folder, filename_suffix=_MEDIA)

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Writes all points anew: what a killed process has left may end in the midst of one."""
        for path in (description.run.path / FOLDER).glob(f"*{_SCALARS}"):
            path.unlink()
        self.start(description)
        self.log_points(points)

    def log_points(self, points: Sequence[Point]) -> None:
        """Writes points as scalars, at the times when they were measured."""
        writer = _require(self._scalars)
        for point in points:
            moment = datetime.fromisoformat(point.time).timestamp()
            summary = scalar_pb(point.key, point.value)
            writer.add_event(Event(wall_time=moment, step=point.step, summary=summary))
        writer.flush()

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:
        """Writes the bytes of a PNG file as they are."""
        with Image.open(path) as image:
            width, height = image.size
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=path.read_bytes())
        self._add_media(Summary(value=[Summary.Value(tag=key, image=picture)]), step)

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:
        """Writes histograms of 30 bins."""
        for name, array in values.items():
            self._add_media(histogram_pb(name, array.astype(np.float64)), step)

    def finish(self, status: Status) -> None:
        """Closes the event files."""
        for writer in (self._scalars, self._media):
            if writer is not None:
                writer.close()

    def _add_media(self, summary: Any, step: int) -> None:
        _require(self._media).add_event(Event(wall_time=time.time(), step=step, summary=summary))


def _require(writer: EventFileWriter | None) -> EventFileWriter:
    if writer is None:
        raise StoreError("the event file is not open: call start() first")
    return writer


class GraphWriter(keras.callbacks.Callback):
    """Writes the graph of the model's forward pass, once, after the first epoch so that it delays no first step.

    Args:
        folder: of the event file.
        forward: a `tf.function` with one input signature.
    """

    def __init__(self, folder: str, forward: Any) -> None:
        super().__init__()
        self._folder = "" if any(pathlib.Path(folder).glob("*.graph")) else folder  # a resumed run has it already
        self._forward = forward

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the graph after the first epoch."""
        if self._folder:
            writer = tf.summary.create_file_writer(self._folder, filename_suffix=".graph")
            with writer.as_default():
                tf.summary.graph(self._forward.get_concrete_function().graph)
            writer.close()
            self._folder = ""
