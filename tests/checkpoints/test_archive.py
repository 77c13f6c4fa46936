"""Archives of a network that are written without Keras: the same bytes as by Keras."""

import pathlib
import zipfile
from typing import Any

import keras
import numpy as np
import pytest

from dlexp.checkpoints.archive import NetworkArchive
from dlexp.config.sections import ModelConfig
from dlexp.models import build_model


def written(model: keras.Model, weights: list[np.ndarray], folder: pathlib.Path) -> dict[str, bytes]:
    network = NetworkArchive(model)
    with zipfile.ZipFile(folder / "ours.keras", "w") as archive:
        network.write(archive, weights, scratch=folder)
    assert [path.name for path in folder.glob(".*")] == []
    return members(folder / "ours.keras")


def members(path: pathlib.Path) -> dict[str, bytes]:
    """Without the one that has the time in it."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "metadata.json"}


def by_keras(model: keras.Model, weights: list[np.ndarray], folder: pathlib.Path) -> dict[str, bytes]:
    model.set_weights(weights)
    model.save(folder / "keras.keras")
    return members(folder / "keras.keras")


@pytest.mark.parametrize("dtype_policy", ["float32", "mixed_bfloat16", "bfloat16"])
@pytest.mark.parametrize("name", ["mlp", "small_cnn", "resnet20", "vit_tiny", "MobileNetV3Small"])
def test_archive_is_byte_for_byte_what_keras_writes(tmp_path: pathlib.Path, name: str, dtype_policy: str) -> None:
    args = {"weights": "none"} if name == "MobileNetV3Small" else {}
    settings = ModelConfig(model=name, model_args=args)
    model = build_model(settings, (32, 32, 3), 4, dtype_policy=dtype_policy)
    model.compile("sgd", "mse")
    weights = [np.asarray(weight.numpy()) for weight in model.weights]
    ours = written(model, weights, tmp_path)
    assert ours == by_keras(model, weights, tmp_path)


def test_weights_of_nested_models_and_whole_numbers_are_placed(tmp_path: pathlib.Path) -> None:
    normalization = keras.layers.Normalization()
    normalization.adapt(np.arange(12.0).reshape(4, 3))
    inner = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3), keras.layers.Dropout(0.5)])
    model = keras.Sequential([keras.layers.Input((3,)), normalization, inner, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    weights = model.get_weights()
    assert written(model, weights, tmp_path) == by_keras(model, weights, tmp_path)


@keras.saving.register_keras_serializable(package="tests")
class Doubling(keras.layers.Dense):
    """Saves its weights in a form of its own."""

    def save_own_variables(self, store: Any) -> None:
        store["0"], store["1"] = 2 * self.kernel.numpy(), self.bias.numpy()

    def load_own_variables(self, store: Any) -> None:
        self.kernel.assign(store["0"][()] / 2)
        self.bias.assign(store["1"][()])


def test_layer_that_saves_in_a_form_of_its_own_is_left_to_keras(tmp_path: pathlib.Path) -> None:
    model = keras.Sequential([keras.layers.Input((3,)), Doubling(2)])
    model.compile("sgd", "mse")
    weights = model.get_weights()
    assert written(model, weights, tmp_path) == by_keras(model, weights, tmp_path)
    loaded = keras.saving.load_model(tmp_path / "ours.keras")
    assert all(np.array_equal(one, other) for one, other in zip(loaded.get_weights(), weights, strict=True))


def test_second_archive_has_its_own_weights(tmp_path: pathlib.Path) -> None:
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    network = NetworkArchive(model)
    for number in range(2):
        weights = [np.full(weight.shape, number, np.float32) for weight in model.weights]
        with zipfile.ZipFile(tmp_path / f"{number}.keras", "w") as archive:
            network.write(archive, weights, scratch=tmp_path)
        loaded = keras.saving.load_model(tmp_path / f"{number}.keras").get_weights()
        assert all(np.array_equal(one, other) for one, other in zip(loaded, weights, strict=True))
