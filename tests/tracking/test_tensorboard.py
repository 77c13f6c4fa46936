"""What TensorBoard holds is what was measured."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader, RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from dlexp.runs.points import make_points
from dlexp.runs.run import Status
from dlexp.tracking.base import RunDescription
from dlexp.tracking.tensorboard import GraphWriter, TensorBoardTracker


@pytest.fixture
def model() -> keras.Model:
    model = keras.Sequential([keras.layers.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    return model


def events(folder: pathlib.Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return accumulator


def test_tensorboard_holds_every_point_at_its_step(description: RunDescription) -> None:
    tracker = TensorBoardTracker(description.config.tracking)
    tracker.start(description)
    for step in (10, 20):
        tracker.log_points(make_points({"val_loss": step / 100}, step=step, epoch=1))
    tracker.finish(Status.FINISHED)
    read = events(description.run.path / "tensorboard").Tensors("val_loss")
    assert [item.step for item in read] == [10, 20]
    assert [float(tf.make_ndarray(item.tensor_proto)) for item in read] == pytest.approx([0.1, 0.2])


def test_tensorboard_holds_histograms_and_pictures(description: RunDescription) -> None:
    picture = description.run.path / "picture.png"
    Image.new("L", (7, 5)).save(picture)
    tracker = TensorBoardTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_histograms({"weights/kernel": np.arange(12, dtype=np.float32).reshape(3, 4)}, step=5)
    tracker.log_image("samples/one", picture, step=5)
    tracker.finish(Status.FINISHED)
    read = events(description.run.path / "tensorboard")
    (image,) = read.Images("samples/one")
    assert (image.width, image.height, image.step) == (7, 5, 5)
    (histogram,) = read.Tensors("weights/kernel")
    assert tf.make_ndarray(histogram.tensor_proto)[:, 2].sum() == 12


def hparams(folder: pathlib.Path) -> dict[str, Any]:
    """The data of the HParams plug-in in a folder, by tag; none may be there twice."""
    found: dict[str, Any] = {}
    for path in folder.iterdir():
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    assert value.tag not in found
                    found[value.tag] = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    return found


def test_hyperparameters_are_what_the_result_depends_on_with_their_types(description: RunDescription) -> None:
    config = description.config.replace(epochs=3, augment=("flip", "crop"), freeze_backbone=True, monitor="val_loss")
    tracker = TensorBoardTracker(config.tracking)
    tracker.start(dataclasses.replace(description, config=config))
    tracker.finish(Status.FINISHED)
    held = hparams(description.run.path / "tensorboard")
    session = held["_hparams_/session_start_info"].session_start_info
    assert session.group_name == "run a1b2c3d4"
    values = session.hparams
    assert (values["epochs"].number_value, values["freeze_backbone"].bool_value) == (3, True)
    assert values["augment"].string_value == '["flip", "crop"]'
    assert values["image_size"].string_value == "null"
    assert (values["dataset_id"].string_value, values["num_parameters"].number_value) == ("0123456789abcdef", 7)
    assert not {"store", "verbose", "run_name", "tracking_uri"} & set(values)
    experiment = held["_hparams_/experiment"].experiment
    assert {info.name for info in experiment.hparam_infos} == set(values)
    columns = [info.name.tag for info in experiment.metric_infos]
    assert columns == ["best/val_loss", "best/val_accuracy", "test_accuracy", "test_loss"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [("FINISHED", "STATUS_SUCCESS"), ("DIVERGED", "STATUS_FAILURE"), ("FAILED", "STATUS_FAILURE"),
     ("KILLED", "STATUS_UNKNOWN")],
)  # fmt: skip
def test_session_of_the_hparams_tab_ends_as_the_run(description: RunDescription, status: str, expected: str) -> None:
    tracker = TensorBoardTracker(description.config.tracking)
    tracker.start(description)
    tracker.finish(Status(status))
    end = hparams(description.run.path / "tensorboard")["_hparams_/session_end_info"].session_end_info
    assert api_pb2.Status.Name(end.status) == expected


def test_resumed_run_is_one_session(description: RunDescription) -> None:
    for begin in ("start", "resume", "resume"):
        tracker = TensorBoardTracker(description.config.tracking)
        tracker.start(description) if begin == "start" else tracker.resume(description, [])
        tracker.finish(Status.KILLED if begin == "start" else Status.FINISHED)
    held = hparams(description.run.path / "tensorboard")
    assert held["_hparams_/session_end_info"].session_end_info.status == api_pb2.STATUS_SUCCESS


@pytest.mark.parametrize(("mode", "colorspace"), [("L", 1), ("LA", 2), ("RGB", 3), ("P", 3), ("RGBA", 4)])
def test_picture_is_kept_as_it_is_with_its_colours(description: RunDescription, mode: str, colorspace: int) -> None:
    path = description.run.path / "picture.png"
    Image.new(mode, (6, 4)).save(path)
    tracker = TensorBoardTracker(description.config.tracking)
    tracker.start(description)
    tracker.log_image("confusion/test", path, step=3)
    tracker.finish(Status.FINISHED)
    (media,) = (description.run.path / "tensorboard").glob("*.media")
    (value,) = [
        value for event in RawEventFileLoader(str(media)).Load() for value in Event.FromString(event).summary.value
    ]
    assert (value.tag, value.image.colorspace, value.image.width, value.image.height) == (
        "confusion/test",
        colorspace,
        6,
        4,
    )
    assert value.image.encoded_image_string == path.read_bytes()


def test_graph_is_written_once(model: keras.Model, tmp_path: pathlib.Path) -> None:
    forward = tf.function(model, input_signature=[tf.TensorSpec((None, 2, 2, 1))])
    writer = GraphWriter(str(tmp_path), forward)
    model.fit(np.ones((3, 2, 2, 1)), np.ones((3, 2)), epochs=2, verbose=0, callbacks=[writer])
    assert events(tmp_path).Tags()["graph"]
    assert len(list(tmp_path.iterdir())) == 1
