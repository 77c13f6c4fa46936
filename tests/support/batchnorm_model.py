"""A plug-in of what a resume can lose: a model with batch normalisation and dropout, and a callback that counts."""

from collections.abc import Mapping
from typing import Any

import keras

from dlexp import register_callback, register_model


@register_model("batchnorm_net")
def build_batchnorm_net(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    layers = keras.layers
    pixels = layers.Input(input_shape)
    x = layers.Conv2D(8, 3, use_bias=False)(layers.Rescaling(1 / 255)(pixels))
    x = layers.Flatten()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(pixels, layers.Dense(num_classes)(layers.Dropout(0.3)(x)))


@register_callback("halve_after_three")
class HalveAfterThree(keras.callbacks.Callback):
    """Halves the learning rate after every third epoch it has seen: wrong after a resume unless its count survives."""

    count = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.count += 1
        if self.count % 3 == 0:
            self.model.optimizer.learning_rate = float(self.model.optimizer.learning_rate.numpy()) / 2

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
