"""TensorBoard: scalars, pictures, hyperparameters, the graph of the model, histograms of weights and gradients."""

import json
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import experiment_pb, session_end_pb
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dlexp.config.experiment_config import config_fields
from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.registry import register_tracker
from dlexp.runs.best_values import PREFIX
from dlexp.runs.points import Point
from dlexp.runs.run import Status
from dlexp.tracking.base import RunDescription, Tracker

FOLDER = "tensorboard"
_SCALARS, _MEDIA, _HPARAMS = ".scalars", ".media", ".hparams"
_RESULTS = ("best/val_accuracy", "best/val_loss", "test_accuracy", "test_loss")
_TYPES = {bool: api_pb2.DATA_TYPE_BOOL, int: api_pb2.DATA_TYPE_FLOAT64, float: api_pb2.DATA_TYPE_FLOAT64}
_SESSION_STATUS = {
    Status.FINISHED: api_pb2.STATUS_SUCCESS,
    Status.FAILED: api_pb2.STATUS_FAILURE,
    Status.DIVERGED: api_pb2.STATUS_FAILURE,
    Status.PRUNED: api_pb2.STATUS_SUCCESS,
    Status.KILLED: api_pb2.STATUS_UNKNOWN,  # it may be resumed
}


@register_tracker("tensorboard")
class TensorBoardTracker(Tracker):
    """Writes scalars, pictures and histograms into `tensorboard/` of the run folder, at the step of the optimizer.

    A run is a session of the HParams tab. Its hyperparameters are the dataset and the config fields that the result
    depends on. Its metrics are the monitored one and those of validation and test, of the best epoch.

    Args:
        tracking: not used; all trackers are built with it.
    """

    name = "TensorBoard"

    def __init__(self, tracking: TrackingConfig) -> None:
        self._scalars: EventFileWriter | None = None
        self._media: EventFileWriter | None = None
        self._hparams: EventFileWriter | None = None

    def start(self, description: RunDescription) -> None:
        """Opens the event files and writes the start of a session."""
        folder = str(description.run.path / FOLDER)
        self._scalars = EventFileWriter(folder, filename_suffix=_SCALARS)
        self._media = EventFileWriter(folder, filename_suffix=_MEDIA)
        self._hparams = EventFileWriter(folder, filename_suffix=_HPARAMS)
        hyperparameters = _hyperparameters(description)
        started = datetime.fromisoformat(description.run.record()["started"]).timestamp()
        trial = f"{description.name} {description.run.id[:8]}"
        metrics = dict.fromkeys([f"{PREFIX}{description.config.selection.monitor}", *_RESULTS])
        self._add_hparams(_experiment(hyperparameters, metrics, started))
        self._add_hparams(hparams_pb(hyperparameters, trial_id=trial, start_time_secs=started))
        self._hparams.flush()

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Rewrites all points and the session, as the files of a killed process may end with an incomplete event."""
        for suffix in (_SCALARS, _HPARAMS):
            for path in (description.run.path / FOLDER).glob(f"*{suffix}"):
                path.unlink()
        self.start(description)
        self.log_points(points)

    def log_points(self, points: Sequence[Point]) -> None:
        """Writes points as scalars, with the time of their measurement."""
        writer = _require(self._scalars)
        for point in points:
            moment = datetime.fromisoformat(point.time).timestamp()
            summary = scalar_pb(point.key, point.value)
            writer.add_event(Event(wall_time=moment, step=point.step, summary=summary))
        writer.flush()

    def log_image(self, key: str, path: pathlib.Path, *, step: int) -> None:
        """Writes the bytes of a PNG file unchanged."""
        with Image.open(path) as image:
            width, height = image.size
            channels = 3 if image.mode == "P" else len(image.getbands())
        picture = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=path.read_bytes())
        self._add_media([Summary(value=[Summary.Value(tag=key, image=picture)])], step)

    def log_histograms(self, values: Mapping[str, np.ndarray], *, step: int) -> None:
        """Writes histograms of the finite values, with 30 bins."""
        numbers = {name: array.astype(np.float64) for name, array in values.items()}
        finite = {name: array[np.isfinite(array)] for name, array in numbers.items()}
        self._add_media([histogram_pb(name, array) for name, array in finite.items() if array.size], step)

    def finish(self, status: Status) -> None:
        """Writes the end of the session and closes the event files."""
        if self._hparams is not None:
            self._add_hparams(session_end_pb(_SESSION_STATUS[status]))
        for writer in (self._scalars, self._media, self._hparams):
            if writer is not None:
                writer.close()
        self._scalars = self._media = self._hparams = None

    def _add_media(self, summaries: Sequence[Any], step: int) -> None:
        writer = _require(self._media)
        for summary in summaries:
            writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.flush()

    def _add_hparams(self, summary: Any) -> None:
        # Some of these functions return TensorFlow's own class of the same message.
        ours = Summary.FromString(summary.SerializeToString())
        _require(self._hparams).add_event(Event(wall_time=time.time(), summary=ours))


def _hyperparameters(description: RunDescription) -> dict[str, bool | int | float | str]:
    """What the result depends on, by name. Values of types that the tab does not have become JSON text."""
    indifferent = {name for name, field in config_fields().items() if not field.metadata["changes_result"]}
    return {
        name: value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
        for name, value in description.params().items()
        if name not in indifferent - {"dataset_id"}
    }


def _experiment(hyperparameters: Mapping[str, Any], metrics: Iterable[str], started: float) -> Any:
    """Builds the columns of the tab."""
    types = {name: _TYPES.get(type(value), api_pb2.DATA_TYPE_STRING) for name, value in hyperparameters.items()}
    return experiment_pb(
        [api_pb2.HParamInfo(name=name, type=kind) for name, kind in types.items()],
        [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in metrics],
        time_created_secs=started,
    )


def _require(writer: EventFileWriter | None) -> EventFileWriter:
    if writer is None:
        raise StoreError("the event file is not open: call start() first")
    return writer


class GraphWriter(keras.callbacks.Callback):
    """Writes the graph of the forward pass once, after the first epoch, so that the first step is not delayed.

    Args:
        folder: folder of the event file.
        forward: a `tf.function` with one input signature.
    """

    def __init__(self, folder: str, forward: Any) -> None:
        super().__init__()
        self._folder = "" if any(pathlib.Path(folder).glob("*.graph")) else folder  # a resumed run already has it
        self._forward = forward

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Writes the graph after the first epoch."""
        if self._folder:
            writer = tf.summary.create_file_writer(self._folder, filename_suffix=".graph")
            with writer.as_default():
                tf.summary.graph(self._forward.get_concrete_function().graph)
            writer.close()
            self._folder = ""
