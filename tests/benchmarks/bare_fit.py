"""A training without dlexp: the network, `compile`, `fit`, `evaluate`; no logging, no checkpoints, no pictures.

Arguments: model (small_cnn or resnet20), file with the arrays, batch size, epochs, learning rate, weight decay.
"""

import sys
from typing import Any

import keras
import numpy as np

from tests.benchmarks.clock import Clock


def build_small_cnn() -> keras.Model:
    """The network of `dlexp.models.zoo`, written out."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    for filters in (32, 64):
        x = keras.layers.Conv2D(filters, 3, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))


def build_resnet20() -> keras.Model:
    """The network of `dlexp.models.resnet`, written out."""
    inputs = keras.Input((28, 28, 1))
    x = keras.layers.ReLU()(convolve(keras.layers.Rescaling(1 / 255)(inputs), 16))
    for filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if filters > 16 and block == 0 else 1
            shortcut = x if strides == 1 else convolve(x, filters, kernel_size=1, strides=strides)
            x = keras.layers.ReLU()(convolve(x, filters, strides=strides))
            x = keras.layers.ReLU()(keras.layers.Add()([convolve(x, filters), shortcut]))
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))


def convolve(x: Any, filters: int, *, kernel_size: int = 3, strides: int = 1) -> Any:
    convolution = keras.layers.Conv2D(
        filters, kernel_size, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )
    return keras.layers.BatchNormalization()(convolution(x))


def main() -> None:
    """Trains, then prints what the clock measured."""
    name, path, batch_size, epochs, learning_rate, weight_decay = sys.argv[1:]
    clock = Clock()
    data = np.load(path)
    keras.utils.set_random_seed(0)
    model = {"small_cnn": build_small_cnn, "resnet20": build_resnet20}[name]()
    model.compile(
        optimizer=keras.optimizers.AdamW(float(learning_rate), weight_decay=float(weight_decay)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        data["x_train"],
        data["y_train"],
        validation_data=(data["x_validation"], data["y_validation"]),
        batch_size=int(batch_size),
        epochs=int(epochs),
        callbacks=[clock],
        verbose=0,
    )
    model.evaluate(data["x_test"], data["y_test"], batch_size=int(batch_size), verbose=0)
    clock.print_report()


main()
