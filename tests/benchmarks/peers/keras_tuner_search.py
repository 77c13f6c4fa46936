"""KerasTuner's RandomSearch in one process, without MLflow: `keras_tuner_search.py STORE TRIALS`."""

import sys
from typing import Any

import keras_tuner
from digits import BATCH_SIZE, EPOCHS, load
from keras_network import build_network


def build(hyperparameters: Any) -> Any:
    """Builds the compiled model of one trial."""
    return build_network(
        hyperparameters.Float("learning_rate", 1e-4, 1e-2, sampling="log"),
        hyperparameters.Float("weight_decay", 1e-6, 1e-2, sampling="log"),
    )


def main(store: str, trials: int) -> None:
    """Runs the search."""
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
