"""Plug-ins are imported; a user's own model, source, callback and tracker train without touching the package."""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import keras
import pytest

from dlexp import load_checkpoint
from dlexp.commands.cli import main
from dlexp.errors import ConfigError
from dlexp.plugins import load_plugins
from dlexp.registry import CALLBACKS, MODELS, SOURCES, TRACKERS
from dlexp.runs.store import find_run

PLUGIN = """
import keras
import numpy as np
from dlexp import ArraySource, register_model, register_source

{register}
class Doubling(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2

@register_model("my_net")
def build_my_net(input_shape, num_classes, width=8, own_layer=False):
    inputs = keras.layers.Input(input_shape)
    hidden = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    hidden = Doubling()(hidden) if own_layer else hidden
    hidden = keras.layers.Dense(width, activation="relu")(hidden)
    return keras.Model(inputs, keras.layers.Dense(num_classes)(hidden))

@register_source("bright_or_dark")
def open_bright_or_dark(spec, *, data_dir):
    labels = np.arange(200) % 2
    noise = np.random.default_rng(0).integers(0, 100, (200, 4, 4, 1))
    images = (noise + 150 * labels[:, None, None, None]).astype(np.uint8)
    return ArraySource("bright_or_dark", images, labels=labels, class_names=("dark", "bright"))
"""

WATCHERS = """
import json
import keras
from dlexp import Tracker, register_callback, register_tracker

@register_callback("say_epochs")
class SayEpochs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("epoch", epoch + 1, sorted(logs)[:1])

@register_tracker("diary")
class Diary(Tracker):
    name = "diary"

    def __init__(self, tracking):
        self.tracking = tracking

    def start(self, description):
        self.path = description.run.path / "diary.jsonl"
        self.write("start", description.dataset_name, self.tracking.experiment, description.params()["model"])

    def resume(self, description, points):
        self.path = description.run.path / "diary.jsonl"
        self.write("resume", len(points))

    def log_points(self, points):
        self.write("points", *([point.key, point.step, point.value] for point in points))

    def log_best(self, best):
        self.write("best", best.epoch)

    def finish(self, status):
        self.write("finish", status)

    def write(self, *words):
        with self.path.open("a") as file:
            file.write(json.dumps(words) + "\\n")
"""


@pytest.fixture
def plugin(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    monkeypatch.chdir(tmp_path)
    with MODELS.isolated(), SOURCES.isolated(), CALLBACKS.isolated(), TRACKERS.isolated():
        yield tmp_path / "my_plugin.py"
    sys.modules.pop("my_plugin", None)


def train(*words: str) -> int:
    fixed = ("--plugins=my_plugin.py", "--model=my_net", "--epochs=2", "--verbose=0", "--tensorboard=false")
    return main(["dlexp", "train", *fixed, *words])


def test_model_and_source_of_a_plugin_train(plugin: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.write_text(PLUGIN.format(register=""))
    words = ("--dataset=bright_or_dark", "--model_args=width=4", "--learning_rate=0.05", "--batch_size=20")
    assert train(*words) == 0
    folder = pathlib.Path(capsys.readouterr().out.splitlines()[-1])
    checkpoint = load_checkpoint(folder)
    assert checkpoint.class_names == ("dark", "bright")
    assert checkpoint.metadata["custom_layers"] == []
    assert checkpoint.metrics["val_accuracy"] > 0.9


def test_layer_of_a_plugin_is_named_in_the_metadata(plugin: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.write_text(PLUGIN.format(register="@keras.saving.register_keras_serializable('mine')"))
    assert train("--model_args=own_layer=true") == 0
    checkpoint = load_checkpoint(pathlib.Path(capsys.readouterr().out.splitlines()[-1]))
    assert checkpoint.metadata["custom_layers"] == ["mine>Doubling"]


def test_layer_that_could_not_be_loaded_again_is_refused_before_training(
    plugin: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.write_text(PLUGIN.format(register=""))
    assert train("--model_args=own_layer=true") == 1
    assert "register_keras_serializable" in capsys.readouterr().err
    assert not (plugin.parent / "mlruns").exists()


def diary(folder: pathlib.Path) -> list[list[Any]]:
    """The calls that the plug-in's tracker has received, in order."""
    return [json.loads(line) for line in (folder / "diary.jsonl").read_text().splitlines()]


def measured(folder: pathlib.Path) -> list[list[Any]]:
    """What was measured: key, step and value, in the order of the run's own file."""
    points = find_run(folder).points()
    return [list(point) for point in points[["key", "step", "value"]].itertuples(index=False)]


def test_callback_and_tracker_of_a_plugin_are_called(plugin: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin.write_text(PLUGIN.format(register="") + WATCHERS)
    assert train("--callbacks=say_epochs", "--trackers=diary", "--experiment=mine") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith("epoch ")] == ["epoch 1 ['accuracy']", "epoch 2 ['accuracy']"]
    reported = diary(pathlib.Path(printed[-1]))
    assert reported[0] == ["start", "digits", "mine", "my_net"]
    assert reported[-1] == ["finish", "FINISHED"]
    assert [point for call, *points in reported if call == "points" for point in points] == measured(
        pathlib.Path(printed[-1])
    )


def test_tracker_of_a_plugin_goes_on_with_a_resumed_run(
    plugin: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.write_text(PLUGIN.format(register="") + WATCHERS)
    assert train("--trackers=diary") == 0
    folder = pathlib.Path(capsys.readouterr().out.splitlines()[-1])
    before = measured(folder)
    assert main(["dlexp", "train", f"--resume={folder}", "--epochs=3"]) == 0
    reported = diary(folder)
    (number,) = [number for number, (call, *_) in enumerate(reported) if call == "resume"]
    assert reported[number] == ["resume", len(before)]
    after = [point for call, *points in reported[number:] if call == "points" for point in points]
    assert before + after == measured(folder)


def test_tracker_of_an_installed_package_is_found_by_its_entry_point(
    plugin: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = plugin.parent / "site-packages"
    installed = packages / "my_package-1.0.dist-info"
    installed.mkdir(parents=True)
    (packages / "my_plugin.py").write_text(WATCHERS)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[dlexp.trackers]\ndiary = my_plugin\n")
    monkeypatch.syspath_prepend(packages)
    monkeypatch.setattr(TRACKERS, "_seen_entry_points", False)
    monkeypatch.setattr(TRACKERS, "_modules", dict(TRACKERS._modules))
    words = ["--model=mlp", "--epochs=1", "--verbose=0", "--tensorboard=false"]
    assert main(["dlexp", "train", "--trackers=diary", *words]) == 0
    folder = pathlib.Path(capsys.readouterr().out.splitlines()[-1])
    assert diary(folder)[0][0] == "start"


SCALE = """
import keras

@keras.saving.register_keras_serializable()
class Scale(keras.layers.Layer):
    def call(self, pixels):
        return pixels / {by}
"""


def test_serialization_name_of_two_files_is_refused_and_the_first_stays(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "scale_one.py", tmp_path / "scale_two.py"
    one.write_text(SCALE.format(by=255))
    other.write_text(SCALE.format(by=127))
    names = keras.saving.get_custom_objects()
    monkeypatch.setattr("sys.modules", dict(sys.modules))
    try:
        load_plugins([str(one)])
        load_plugins([str(one)])
        for _ in range(2):
            with pytest.raises(
                ConfigError, match=r"'Custom>Scale' twice, by .*scale_one.py and by .*scale_two.py"
            ) as err:
                load_plugins([str(other)])
        assert names["Custom>Scale"].__module__ == "scale_one"

        advice = '@keras.saving.register_keras_serializable(package="scale_two")'
        assert advice in str(err.value)
        other.write_text(other.read_text().replace("@keras.saving.register_keras_serializable()", advice))
        load_plugins([str(other)])
        assert names["scale_two>Scale"].__module__ == "scale_two"
    finally:
        for name in ("Custom>Scale", "scale_two>Scale"):
            names.pop(name, None)


@pytest.fixture
def plugin_file(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    path = tmp_path / "my_plugin_models.py"
    path.write_text(
        "from dlexp import register_model\n"
        "@register_model('from_a_plugin')\n"
        "def build(input_shape, num_classes):\n"
        "    return 'built'\n"
    )
    with MODELS.isolated():
        yield path
    sys.modules.pop("my_plugin_models", None)


def test_plugin_file_registers_its_models(plugin_file: pathlib.Path) -> None:
    load_plugins([str(plugin_file)])
    assert MODELS.get("from_a_plugin")((8, 8, 1), 10) == "built"


def test_plugin_may_be_loaded_twice(plugin_file: pathlib.Path) -> None:
    load_plugins([str(plugin_file), str(plugin_file)])
    assert "from_a_plugin" in MODELS


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "1 +", "'.*broken.py' cannot be imported: SyntaxError"),
        ("json.py", "", "has the name of another module, 'json'"),
    ],
)
def test_plugin_that_cannot_be_imported_is_refused(tmp_path: pathlib.Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_plugins([str(tmp_path / name)])


def test_plugin_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_plugins(["nowhere.py"])
    with pytest.raises(ConfigError, match="ModuleNotFoundError"):
        load_plugins(["no_such_module"])
