"""The layers that the built-in classifiers share: scaling of the pixels, and the head."""

from typing import Any

import keras


def build_logits(features: Any, num_classes: int, *, dropout: float = 0.0) -> Any:
    """Turns features into logits.

    Args:
        features: a Keras tensor `(batch, features)`.
        num_classes: number of logits.
        dropout: share of the features set to zero in training, in [0, 1); 0 adds no layer.

    Returns:
        A Keras tensor `(batch, num_classes)`, `float32` under every precision policy: a softmax over half-precision
        logits loses digits (https://keras.io/guides/mixed_precision).
    """
    if dropout:
        features = keras.layers.Dropout(dropout, name="dropout")(features)
    return keras.layers.Dense(num_classes, dtype="float32", name="logits")(features)


def scale_pixels(pixels: Any) -> Any:
    """Maps pixels in [0, 255] to [0, 1], in `float32`: the next layers cast to the precision they compute in."""
    return keras.layers.Rescaling(1 / 255, dtype="float32", name="scale_pixels")(pixels)
