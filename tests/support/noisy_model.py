"""A plug-in: a network with noise from TensorFlow's own random numbers, whose state no seed of Keras reaches."""

from typing import Any

import keras
import tensorflow as tf

from dlexp.registry import register_model


@keras.saving.register_keras_serializable(package="tests")
class Noise(keras.layers.Layer):
    """Adds numbers to its inputs, other ones in each step."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return inputs + tf.random.normal(tf.shape(inputs), dtype=inputs.dtype) if training else inputs


@register_model("noisy_net")
def build_noisy_net(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """One hidden layer."""
    pixels = keras.Input(input_shape)
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(keras.layers.Rescaling(1 / 16)(pixels)))
    logits = keras.layers.Dense(num_classes, dtype="float32")(Noise()(x))
    return keras.Model(pixels, logits, name="noisy_net")
