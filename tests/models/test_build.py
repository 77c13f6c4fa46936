"""Models by name: the contract, the zoo, and plug-ins that break the contract."""

import functools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlexp.config.sections import ModelConfig
from dlexp.errors import ConfigError, ModelError, UnknownNameError
from dlexp.models import build_model, custom_layers
from dlexp.models.vit import choose_patch_size
from dlexp.registry import APPLICATIONS, MODELS, register_model

ZOO = sorted(set(MODELS.builtin_names()) - set(APPLICATIONS))
SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3)]
layers = keras.layers


def build(name: str, shape: tuple[int, int, int] = (8, 8, 1), policy: str = "float32", **model_args: Any) -> Any:
    keras.utils.set_random_seed(3)
    return build_model(ModelConfig(model=name, model_args=model_args), shape, 10, dtype_policy=policy)


cached = functools.cache(build)


def random_pixels(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def plugin() -> Iterator[Any]:
    """Registers a builder as model "plugin", for one test."""
    with MODELS.isolated():
        yield register_model("plugin")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ZOO)
def test_raw_pixels_become_logits_for_every_class(name: str, shape: tuple[int, int, int]) -> None:
    logits = cached(name, shape)(random_pixels(2, *shape))
    assert logits.shape == (2, 10)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", ["mlp", "small_cnn", "resnet20", "vit_tiny"])
def test_uint8_and_float_pixels_predict_the_same(name: str) -> None:
    model, pixels = cached(name), random_pixels(2, 8, 8, 1)
    np.testing.assert_array_equal(model.predict(pixels, verbose=0), model.predict(pixels.astype("float32"), verbose=0))


@pytest.mark.parametrize("name", ZOO)
def test_plain_keras_opens_the_saved_model(name: str, tmp_path: Path) -> None:
    model, pixels = cached(name), random_pixels(2, 8, 8, 1)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        modules = set(re.findall(r'"module": "([^"]+)"', archive.read("config.json").decode()))
    reloaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(reloaded(pixels), model(pixels))
    assert {module.partition(".")[0] for module in modules} == {"keras"}


@pytest.mark.parametrize("name", ZOO)
def test_logits_are_float32_under_mixed_precision(name: str) -> None:
    model = build(name, policy="mixed_bfloat16")
    assert model(random_pixels(2, 8, 8, 1)).dtype == "float32"
    assert "bfloat16" in {layer.compute_dtype for layer in model.layers}


@pytest.mark.parametrize("name", ZOO)
def test_a_gradient_step_lowers_the_loss(name: str) -> None:
    model, pixels, labels = build(name), random_pixels(16, 8, 8, 1), np.arange(16) % 10

    def measure_loss() -> Any:
        losses = keras.losses.sparse_categorical_crossentropy(labels, model(pixels, training=True), from_logits=True)
        return tf.reduce_mean(losses)

    with tf.GradientTape() as tape:
        before = measure_loss()
    variables = model.trainable_variables
    keras.optimizers.SGD(0.01).apply(tape.gradient(before, [variable.value for variable in variables]), variables)
    assert measure_loss() < before


@pytest.mark.parametrize("name", ZOO)
def test_the_same_seed_gives_the_same_weights(name: str) -> None:
    for one, other in zip(cached(name).get_weights(), build(name).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ZOO)
def test_zoo_models_are_keras_own_layers_only(name: str) -> None:
    assert custom_layers(cached(name)) == []


def test_small_cnn_is_the_documented_stack() -> None:
    expected = ["InputLayer", "Rescaling", "Conv2D", "Conv2D", "Flatten", "Dense"]
    assert [type(layer).__name__ for layer in cached("small_cnn").layers] == expected


def test_resnet20_has_the_weights_of_the_paper_and_of_its_projections() -> None:
    model = cached("resnet20", (32, 32, 3))
    assert sum(variable.shape.num_elements() for variable in model.trainable_variables) == 269_722 + 2_752


@pytest.mark.parametrize(("size", "patch_size"), [((8, 8), 2), ((28, 28), 4), ((32, 32), 4), ((224, 224), 16)])
def test_patches_suit_the_image(size: tuple[int, int], patch_size: int) -> None:
    assert choose_patch_size(*size) == patch_size


def test_image_that_no_patch_divides_is_refused_with_a_size_that_works() -> None:
    with pytest.raises(ModelError, match=r"101x101 pixels can only be cut into 10,201 patches.*image_size=98,98"):
        choose_patch_size(101, 101)
    assert choose_patch_size(98, 98) == 14


def test_patch_size_that_does_not_divide_the_image_is_refused() -> None:
    with pytest.raises(ModelError, match="patch_size=3: use a divisor of 8"):
        build("vit_tiny", patch_size=3)


def test_width_and_heads_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="width=130 of vit_tiny is not divisible by heads=4: use 128"):
        build("vit_tiny", width=130)


def test_one_hidden_size_is_one_layer() -> None:
    sizes = [
        layer.units for layer in build("mlp", hidden_sizes=7, dropout=0.5).layers if isinstance(layer, layers.Dense)
    ]
    assert sizes == [7, 10]


@pytest.mark.parametrize("sizes", [0, -1, 2.5, True, "32", [], [8, 0]])
def test_sizes_that_are_no_sizes_are_refused(sizes: Any) -> None:
    with pytest.raises(ConfigError, match="filters="):
        build_model(
            ModelConfig(model="small_cnn", model_args={"filters": sizes}), (8, 8, 1), 10, dtype_policy="float32"
        )


def test_image_too_small_for_the_convolutions_is_refused_with_its_size() -> None:
    with pytest.raises(ModelError, match="small_cnn cannot be built for images of 4x4x1"):
        build("small_cnn", (4, 4, 1))


def test_unknown_model_argument_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="'filter': did you mean filters\\? Known arguments: dropout, filters"):
        build("small_cnn", filter=3)


def test_unknown_model_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean .*resnet20"):
        build("resnet2")


def test_freezing_is_refused_where_there_is_no_backbone() -> None:
    with pytest.raises(ConfigError, match=r"freeze_backbone is for the models of keras.applications"):
        build_model(ModelConfig(model="mlp", freeze_backbone=True), (8, 8, 1), 10, dtype_policy="float32")


def test_freezing_is_a_field_and_no_model_argument() -> None:
    with pytest.raises(ConfigError, match="set the field freeze_backbone"):
        build("ResNet50", freeze_backbone=True)


def test_channels_are_last_whatever_the_process_uses() -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        model = build_model(ModelConfig(model="small_cnn"), (8, 8, 1), 3, dtype_policy="float32")
        assert keras.config.image_data_format() == "channels_first"
    finally:
        keras.config.set_image_data_format("channels_last")
    assert model(np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 3)


def test_the_global_dtype_policy_is_restored_when_building_fails() -> None:
    with pytest.raises(ModelError):
        build("vit_tiny", policy="mixed_float16", width=130)
    assert keras.config.dtype_policy().name == "float32"


def no_model(shape: Any, num_classes: int) -> Any:
    return SimpleNamespace()


def wrong_shape(shape: Any, num_classes: int) -> Any:
    return keras.Sequential([layers.Input(shape), layers.Dense(num_classes)])


def compiled(shape: Any, num_classes: int) -> Any:
    model = keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(num_classes)])
    model.compile("sgd", "mse")
    return model


def probabilities(shape: Any, num_classes: int) -> Any:
    return keras.Sequential([layers.Input(shape), layers.Flatten(), layers.Dense(num_classes, activation="softmax")])


def python_lambda(shape: Any, num_classes: int) -> Any:
    double = layers.Lambda(lambda x: x * 2)
    return keras.Sequential([layers.Input(shape), double, layers.Flatten(), layers.Dense(num_classes)])


def unsavable(shape: Any, num_classes: int) -> Any:
    return keras.Sequential([layers.Input(shape), Apply(np.sin), layers.Flatten(), layers.Dense(num_classes)])


class Apply(keras.layers.Layer):
    """A layer without a get_config, which Keras cannot save."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def call(self, inputs: Any) -> Any:
        return inputs


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (no_model, "must return a keras.Model, but returned SimpleNamespace"),
        (wrong_shape, r"output has the shape \(None, 8, 8, 10\)"),
        (compiled, "uncompiled"),
        (probabilities, "softmax"),
        (python_lambda, "Python lambda"),
        (unsavable, "could not be saved"),
    ],
)
def test_plugin_that_breaks_the_contract_is_named(plugin: Any, builder: Any, reason: str) -> None:
    plugin(builder)
    with pytest.raises(ModelError, match=f"model plugin.*{reason}"):
        build("plugin")


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A model without a graph of layers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.flatten, self.dense = layers.Flatten(), layers.Dense(num_classes)

    def call(self, pixels: Any) -> Any:
        return self.dense(self.flatten(pixels))

    def get_config(self) -> dict[str, Any]:
        return {"num_classes": self.num_classes}


def test_subclassed_plugin_is_built_and_its_class_is_custom(plugin: Any) -> None:
    plugin(lambda shape, num_classes: Subclassed(num_classes))
    model = build("plugin")
    assert model.built
    assert custom_layers(model) == ["tests>Subclassed"]


@keras.saving.register_keras_serializable(package="tests")
def double(x: Any) -> Any:
    return x * 2


def test_function_of_a_plugin_is_custom(plugin: Any) -> None:
    stack = [layers.Flatten(), layers.Dense(5, activation=double), layers.Dense(10)]
    plugin(lambda shape, num_classes: keras.Sequential([layers.Input(shape), *stack]))
    assert custom_layers(build("plugin")) == ["tests>double"]


def test_plugin_may_take_any_argument(plugin: Any) -> None:
    def build_any(shape: Any, num_classes: int, **sizes: int) -> Any:
        return build("mlp", hidden_sizes=sizes["first"])

    plugin(build_any)
    assert build("plugin", first=3).count_params() == 64 * 3 + 3 + 3 * 10 + 10


@pytest.mark.parametrize("model_args", [{"heads": 0}, {"patch_size": 0}, {"width": "wide"}, {"depth": None}])
def test_arguments_that_cannot_work_are_one_sentence(model_args: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="vit_tiny cannot be built for images of 8x8x1 with model_args="):
        build("vit_tiny", **model_args)


class MakesLayersInBuild(keras.Model):
    """Makes its layers when it is built."""

    def build(self, shape: Any) -> None:
        self.hidden = keras.layers.Dense(3)
        self.hidden.build((None, 64))

    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.hidden(keras.ops.reshape(images, (-1, 64)))


@pytest.mark.parametrize("check", [True, False])
def test_layers_that_are_made_in_build_have_the_policy(check: bool) -> None:
    keras.saving.register_keras_serializable(package="tests")(MakesLayersInBuild)
    with MODELS.override("net", lambda shape, num_classes: MakesLayersInBuild()):
        model = build_model(ModelConfig(model="net"), (8, 8, 1), 3, dtype_policy="mixed_bfloat16", check=check)
    assert model.hidden.compute_dtype == "bfloat16"
