"""The networks of keras.applications: preprocessing, sizes, weights, frozen backbones."""

import functools
import importlib
import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from dlexp.config.sections import ModelConfig
from dlexp.errors import ConfigError, ModelError
from dlexp.models import build_model, custom_layers
from dlexp.models.applications import preprocess_pixels, smallest_side
from dlexp.registry import APPLICATIONS
from tests.support.keras_cache import empty_keras_cache

SMALL = "MobileNetV3Small"


def build(name: str = SMALL, shape: tuple[int, int, int] = (32, 32, 1), freeze: bool = False, **model_args: Any) -> Any:
    keras.utils.set_random_seed(1)
    config = ModelConfig(model=name, model_args=model_args, freeze_backbone=freeze)
    return build_model(config, shape, 5, dtype_policy="float32")


cached = functools.cache(build)


def random_pixels(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def backbone_of(model: Any) -> Any:
    return next(layer for layer in model.layers if isinstance(layer, keras.Model))


def test_the_registry_lists_every_network_of_keras() -> None:
    offered = [name for name, each in inspect.getmembers(keras.applications, inspect.isfunction)]
    assert sorted(APPLICATIONS) == sorted(offered)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_preprocessing_is_that_of_keras(name: str) -> None:
    family = getattr(keras.applications, name).__module__.rpartition(".")[2]
    preprocess_input = importlib.import_module(f"keras.applications.{family}").preprocess_input
    pixels = keras.Input((4, 5, 3))
    model, images = keras.Model(pixels, preprocess_pixels(name, pixels)), random_pixels(2, 4, 5, 3)
    np.testing.assert_allclose(model(images), preprocess_input(images.astype("float32")), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ResNet50", "DenseNet121", "Xception"])
def test_preprocessing_survives_saving_and_cloning(name: str, tmp_path: Path) -> None:
    pixels = keras.Input((4, 5, 1))
    model, images = keras.Model(pixels, preprocess_pixels(name, pixels)), random_pixels(2, 4, 5, 1)
    model.save(tmp_path / "model.keras")
    for copy in (keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        np.testing.assert_array_equal(copy(images), model(images))


def test_grey_pixels_are_given_to_three_channels() -> None:
    pixels = keras.Input((4, 5, 1))
    model, images = keras.Model(pixels, preprocess_pixels(SMALL, pixels)), random_pixels(2, 4, 5, 1)
    np.testing.assert_array_equal(model(images), np.repeat(images, 3, axis=-1))


@pytest.mark.parametrize("name", APPLICATIONS)
def test_smallest_side_is_that_of_keras(name: str) -> None:
    side = smallest_side(name)
    with pytest.raises(ValueError, match=f"at least {side}x{side}"):
        getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(side - 1, side - 1, 3))


@pytest.mark.parametrize(("name", "side"), [("ResNet50", 32), ("Xception", 71)])
def test_image_that_is_too_small_names_both_sizes(name: str, side: int) -> None:
    with pytest.raises(ModelError, match=f"{name} needs images of at least {side}x{side} pixels, but they are 8x28"):
        build(name, (8, 28, 1))


def test_number_of_channels_is_checked() -> None:
    with pytest.raises(ModelError, match="1 or 3 channels, but they have 4"):
        build(shape=(32, 32, 4))


@pytest.mark.parametrize("name", [SMALL, "MobileNet", "EfficientNetB0"])
def test_uint8_pixels_become_logits(name: str) -> None:
    logits = cached(name)(random_pixels(2, 32, 32, 1))
    assert logits.shape == (2, 5)
    assert logits.dtype == "float32"
    assert np.isfinite(logits).all()


def test_saved_model_opens_in_plain_keras(tmp_path: Path) -> None:
    model, images = cached(), random_pixels(2, 32, 32, 1)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(reloaded(images), model(images))
    assert custom_layers(model) == []


def test_frozen_backbone_leaves_only_the_head_to_train() -> None:
    model = cached(freeze=True)
    assert [variable.path for variable in model.trainable_variables] == ["logits/kernel", "logits/bias"]


def test_frozen_backbone_keeps_its_statistics_in_training_and_after_reloading(tmp_path: Path) -> None:
    model, images = cached(freeze=True), random_pixels(4, 32, 32, 1)
    model.save(tmp_path / "model.keras")
    for copy in (model, keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        before = [variable.numpy() for variable in copy.non_trainable_variables]
        copy(images, training=True)
        for variable, value in zip(copy.non_trainable_variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)
        assert len(copy.trainable_variables) == 2


def test_backbone_that_is_not_frozen_moves_its_statistics() -> None:
    model = build()
    before = [variable.numpy() for variable in model.non_trainable_variables]
    model(random_pixels(4, 32, 32, 1), training=True)
    moved = [not np.array_equal(*pair) for pair in zip(model.non_trainable_variables, before, strict=True)]
    assert any(moved)


@pytest.mark.parametrize("file_name", ["backbone.weights.h5", "backbone.keras"])
def test_backbone_weights_come_from_a_file(file_name: str, tmp_path: Path) -> None:
    saved, path = backbone_of(cached()), tmp_path / file_name
    saved.save(path) if path.suffix == ".keras" else saved.save_weights(path)
    keras.utils.set_random_seed(99)
    config = ModelConfig(model=SMALL, model_args={"weights": str(path)})
    loaded = backbone_of(build_model(config, (48, 48, 3), 2, dtype_policy="float32"))
    for one, other in zip(loaded.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_a_whole_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.weights.h5"
    cached().save_weights(path)
    with pytest.raises(ModelError, match=f"whole.weights.h5 do not fit {SMALL}"):
        build(weights=str(path))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(b"no hdf5")
    with pytest.raises(ModelError, match=f"damaged.weights.h5 do not fit {SMALL}"):
        build(weights=str(path))


def test_weights_that_are_not_there_are_refused() -> None:
    with pytest.raises(ModelError, match=r"weights=nowhere.h5 of MobileNetV3Small is not a file"):
        build(weights="nowhere.h5")


def test_imagenet_without_internet_names_the_file_and_its_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = empty_keras_cache(monkeypatch)
    with pytest.raises(ModelError) as raised:
        build("ResNet50", weights="imagenet")
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in str(raised.value)
    assert f"put that file into {cache / 'models'}" in str(raised.value)
    assert capsys.readouterr().out == ""


def test_weights_none_may_be_a_word() -> None:
    for one, other in zip(build(weights="none").get_weights(), cached().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_alpha_narrows_a_mobilenet() -> None:
    assert build("MobileNet", alpha=0.25).count_params() < cached("MobileNet").count_params() / 4


def test_alpha_is_refused_elsewhere() -> None:
    with pytest.raises(ConfigError, match=r"alpha=0.5 is for MobileNets only"):
        build("ResNet50", alpha=0.5)


def test_unknown_pooling_is_refused() -> None:
    with pytest.raises(ConfigError, match="pooling='mean' must be one of avg, max"):
        build(pooling="mean")


def test_dropout_goes_before_the_logits() -> None:
    assert [layer.name for layer in build(dropout=0.3).layers[-2:]] == ["dropout", "logits"]
