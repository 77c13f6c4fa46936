"""The network of the Keras peers: two convolutions and a dense layer, with AdamW."""

import keras

layers = keras.layers


def build_network(learning_rate: float, weight_decay: float) -> keras.Model:
    """Builds a compiled model for images `(batch, 8, 8, 1)` and integer labels `(batch,)`."""
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    model.compile(
        keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model
