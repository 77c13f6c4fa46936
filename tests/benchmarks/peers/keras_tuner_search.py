"""KerasTuner's RandomSearch in one process, without MLflow: `keras_tuner_search.py STORE TRIALS`."""

import sys
from typing import Any

import keras
import keras_tuner
from digits import BATCH_SIZE, EPOCHS, load

layers = keras.layers


def build(hyperparameters: Any) -> keras.Model:
    """The model of one trial, compiled."""
    model = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )
    rate = hyperparameters.Float("learning_rate", 1e-4, 1e-2, sampling="log")
    decay = hyperparameters.Float("weight_decay", 1e-6, 1e-2, sampling="log")
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=decay),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def main(store: str, trials: int) -> None:
    """Searches."""
    train_images, val_images, train_labels, val_labels = load()
    tuner = keras_tuner.RandomSearch(
        build, "val_accuracy", max_trials=trials, directory=store, project_name="search", seed=0
    )
    tuner.search(
        train_images[..., None],
        train_labels,
        validation_data=(val_images[..., None], val_labels),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        verbose=0,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
