"""One Keras script per run, with MLflow's autolog and two ModelCheckpoints: `keras_script.py STORE SEED`."""

import pathlib
import sys

import keras
import mlflow
from digits import BATCH_SIZE, EPOCHS, load
from keras_network import build_network


def main(store: pathlib.Path, seed: int) -> None:
    """Trains one model."""
    mlflow.set_tracking_uri(f"sqlite:///{store}/mlflow.db")
    mlflow.set_experiment("script")
    mlflow.tensorflow.autolog(checkpoint=False)
    keras.utils.set_random_seed(seed)
    train_images, val_images, train_labels, val_labels = load()
    model = build_network(1e-3, 1e-4)
    folder = store / f"checkpoints-{seed}"
    folder.mkdir()
    best = keras.callbacks.ModelCheckpoint(str(folder / "best.keras"), monitor="val_accuracy", save_best_only=True)
    last = keras.callbacks.ModelCheckpoint(str(folder / "last.keras"))
    with mlflow.start_run():
        model.fit(
            train_images[..., None],
            train_labels,
            validation_data=(val_images[..., None], val_labels),
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            verbose=0,
            callbacks=[best, last],
        )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
