"""A user's own model, source and augmentation train through the stock command, without touching the package."""

import pathlib
import sys
from collections.abc import Iterator

import pytest

from dlexp import load_checkpoint
from dlexp.cli import main
from dlexp.registry import AUGMENTATIONS, MODELS, SOURCES

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


@pytest.fixture
def plugin(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "my_plugin.py"
    sys.modules.pop("my_plugin", None)
    for registry in (MODELS, SOURCES, AUGMENTATIONS):
        for name in ("my_net", "bright_or_dark"):
            registry._builders.pop(name, None)


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
