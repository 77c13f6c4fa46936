"""Small reference models: a multilayer perceptron and a plain CNN."""

from collections.abc import Sequence
from typing import Any

import keras

from dlexp.errors import ConfigError
from dlexp.models.head import build_logits, scale_pixels
from dlexp.registry import register_model


@register_model("mlp")
def build_mlp(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    hidden_sizes: int | Sequence[int] = (256, 128),
    dropout: float = 0.0,
) -> keras.Model:
    """Builds a multilayer perceptron on the flattened pixels, with ReLU.

    Args:
        input_shape: (height, width, channels).
        num_classes: number of logits.
        hidden_sizes: units of each hidden layer; a single number gives one layer.
        dropout: share of units set to zero after each hidden layer, in [0, 1).
    """
    pixels = keras.Input(input_shape)
    x = keras.layers.Flatten()(scale_pixels(pixels))
    *inner, last = _as_sizes("hidden_sizes", hidden_sizes)
    for number, size in enumerate(inner, start=1):
        x = keras.layers.Dense(size, activation="relu")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"hidden_dropout_{number}")(
                x
            )  # the name "dropout" belongs to the head
    x = keras.layers.Dense(last, activation="relu")(x)
    return keras.Model(pixels, build_logits(x, num_classes, dropout=dropout), name="mlp")


@register_model("small_cnn")
def build_small_cnn(
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    filters: int | Sequence[int] = (32, 64),
    dropout: float = 0.0,
) -> keras.Model:
    """Builds a plain CNN: 3x3 convolutions with ReLU and without padding, flattened into one dense layer.

    Args:
        input_shape: (height, width, channels); each convolution takes 2 pixels off height and width.
        num_classes: number of logits.
        filters: filters of each convolution; a single number gives one convolution.
        dropout: share of the features set to zero before the dense layer, in [0, 1).
    """
    pixels = keras.Input(input_shape)
    x = scale_pixels(pixels)
    for size in _as_sizes("filters", filters):
        x = keras.layers.Conv2D(size, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(pixels, build_logits(x, num_classes, dropout=dropout), name="small_cnn")


def _as_sizes(name: str, sizes: int | Sequence[int]) -> list[int]:
    """Returns one or several sizes as a list; a flag with a single number gives an int, JSON a list."""
    listed: list[Any] = list(sizes) if isinstance(sizes, (list, tuple)) else [sizes]
    if not listed or not all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in listed):
        raise ConfigError(
            f"model_args {name}={sizes!r} must be a whole number, at least 1, or a list of them as JSON: "
            f'{{"{name}": [32, 64]}}'
        )
    return listed
