"""The memory of activations: what layers keep for the backward pass, by hand counts and by measured trainings."""

from collections.abc import Callable
from typing import Any

import keras
import pytest

from dlexp.config.sections import ModelConfig
from dlexp.models import build_model
from dlexp.models.activation_memory import activation_bytes
from dlexp.models.settings import use_settings
from tests.support.networks import registered

L = keras.layers
SHAPE = (8, 8, 2)
FLOAT, HALF = 4, 2
# What one more example adds to the peak of a training, in bytes: the slope between two batch sizes, each in a process
# that takes two steps, on a CPU with images of 32x32 pixels and 10 classes.
MEASURED = {
    ("resnet20", 1): 1_711_120,
    ("small_cnn", 1): 566_059,
    ("mlp", 1): 9_365,
    ("vit_tiny", 1): 6_183_968,
    ("MobileNetV2", 3): 1_423_467,
    ("EfficientNetB0", 3): 2_191_680,
}


def connect(layers: Callable[[Any], Any], *, dtype: str = "float32") -> keras.Model:
    with use_settings(dtype):
        pixels = keras.Input(SHAPE)
        return keras.Model(pixels, layers(pixels))


def narrow_end(x: Any) -> Any:
    """A layer whose gradients are small, so that a count by hand is of what is kept alone."""
    return L.Dense(1)(L.GlobalAveragePooling2D()(x))


def bytes_of(layers: Callable[[Any], Any], *, dtype: str = "float32") -> int:
    return activation_bytes(connect(layers, dtype=dtype), SHAPE)


@pytest.mark.parametrize(("name", "channels"), MEASURED)
def test_estimate_is_near_the_measured_memory_and_rather_below_it(name: str, channels: int) -> None:
    shape = (32, 32, channels)
    model = build_model(ModelConfig(model=name), shape, 10, dtype_policy="float32")
    assert 0.67 < activation_bytes(model, shape) / MEASURED[name, channels] < 1.05


def test_a_convolution_with_relu_keeps_its_input_and_its_result() -> None:
    kept = 64 * (2 + 16) * FLOAT
    gradient = 64 * 16 * FLOAT
    counted = bytes_of(lambda x: narrow_end(L.Conv2D(16, 3, padding="same", activation="relu")(x)))
    assert counted == pytest.approx(kept + gradient, rel=0.02)


def test_batch_normalisation_keeps_its_input_but_not_its_result() -> None:
    def with_norm(x: Any) -> Any:
        x = L.Conv2D(16, 3, padding="same")(x)
        return narrow_end(L.Activation("relu")(L.BatchNormalization()(x)))

    kept = 64 * (2 + 16 + 16) * FLOAT
    assert bytes_of(with_norm) == pytest.approx(kept + 64 * 16 * FLOAT, rel=0.02)


def test_what_two_layers_need_is_kept_once() -> None:
    def two_heads(x: Any) -> Any:
        x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
        return narrow_end(L.Add()([L.Conv2D(4, 1)(x), L.Conv2D(4, 1)(x)]))

    kept = 64 * (2 + 16) * FLOAT
    assert kept <= bytes_of(two_heads) <= kept + 64 * (16 + 4) * FLOAT


def test_a_frozen_part_keeps_nothing_for_the_backward_pass() -> None:
    def deep(x: Any) -> Any:
        for _ in range(6):
            x = L.Conv2D(16, 3, padding="same", activation="relu")(x)
        return narrow_end(x)

    model = connect(deep)
    trained = activation_bytes(model, SHAPE)
    for layer in model.layers[:-1]:
        layer.trainable = False
    assert activation_bytes(model, SHAPE) == 2 * 64 * 16 * FLOAT
    assert trained > 6 * 64 * 16 * FLOAT


def test_half_precision_halves_what_is_kept() -> None:
    def wide(x: Any) -> Any:
        return narrow_end(L.Conv2D(16, 3, padding="same", activation="relu")(x))

    assert bytes_of(wide, dtype="mixed_bfloat16") == bytes_of(wide) / 2


def test_batch_normalisation_keeps_float32_in_half_precision() -> None:
    def with_norm(x: Any) -> Any:
        return narrow_end(L.BatchNormalization()(L.Conv2D(16, 3, padding="same")(x)))

    kept = 64 * (2 * HALF + 16 * FLOAT)
    assert kept <= bytes_of(with_norm, dtype="mixed_bfloat16") <= kept + 2 * 64 * 16 * HALF


def test_dropout_keeps_a_mask_of_bytes() -> None:
    def with_rate(rate: float) -> int:
        return bytes_of(lambda x: L.Dense(1)(L.Dropout(rate)(L.Flatten()(L.Conv2D(16, 1)(x)))))

    assert with_rate(0.5) - with_rate(0.0) == 64 * 16


def test_attention_keeps_a_weight_for_each_pair_of_positions() -> None:
    def attend(x: Any) -> Any:
        x = L.Reshape((64, 2))(x)
        return L.Dense(1)(L.GlobalAveragePooling1D()(L.MultiHeadAttention(3, 4)(x, x)))

    pairs, vectors = 3 * 64 * 64 * FLOAT, 64 * 3 * 4 * 4 * FLOAT
    assert bytes_of(attend) == pytest.approx(pairs + vectors, rel=0.1)


def test_a_nested_model_counts_as_its_layers() -> None:
    def block(x: Any) -> Any:
        return L.Conv2D(16, 3, padding="same", activation="relu")(L.Conv2D(8, 3, padding="same")(x))

    def nested(x: Any) -> Any:
        return narrow_end(keras.Sequential([connect(block)])(x))

    assert bytes_of(nested) == bytes_of(lambda x: narrow_end(block(x)))


def test_a_nested_model_that_is_called_twice_counts_twice() -> None:
    def twice(x: Any, inner: keras.Model) -> Any:
        x = L.Conv2D(2, 1)(x)
        return narrow_end(inner(inner(x)))

    inner = connect(lambda x: L.Conv2D(2, 1, activation="relu")(L.Conv2D(64, 1, activation="relu")(x)))
    once = bytes_of(lambda x: narrow_end(inner(L.Conv2D(2, 1)(x))))
    assert bytes_of(lambda x: twice(x, inner)) >= once + 64 * 64 * FLOAT


def test_an_unknown_layer_counts_with_its_input_and_its_result() -> None:
    class Unknown(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return keras.ops.tile(x, (1, 1, 1, 10))

    kept = 64 * (2 + 4 + 40) * FLOAT
    counted = bytes_of(lambda x: narrow_end(Unknown()(L.Conv2D(4, 1)(x))))
    assert kept <= counted <= kept + 64 * (40 + 4) * FLOAT


@registered
class Traced(keras.Model):
    """Calls in Python what a functional model would hold as a graph."""

    def __init__(self, inner: keras.Model) -> None:
        super().__init__()
        self.inner = inner

    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.inner(images, training=training)


@pytest.mark.parametrize("name", ["mlp", "small_cnn", "resnet20", "vit_tiny"])
def test_a_subclass_is_traced_and_gives_nearly_the_same(name: str) -> None:
    shape = (32, 32, 1)
    model = build_model(ModelConfig(model=name), shape, 10, dtype_policy="float32")
    assert 0.5 < activation_bytes(Traced(model), shape) / MEASURED[name, 1] < 1.05
