"""Predictions of a model for every example of a split, and the metrics that are recorded from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from dlexp.checkpoints.files import LoadedCheckpoint
from dlexp.datasets import Datasets
from dlexp.datasets.damage import naming_unreadable_images
from dlexp.evaluation.scores import probabilities_of
from dlexp.evaluation.scoring import Scoring
from dlexp.evaluation.tta_views import make_views

Forward = Callable[[Any], Any]


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for one split.

    Attributes:
        split: `train`, `validation` or `test`.
        metrics: see `Scoring.measure`.
        per_source: the same metrics by source; empty if there is only one source.
        table: one row per example, in the order of the manifest. Columns: key, source, label, prediction, confidence
            (probability of the prediction), loss (cross-entropy), and `probability_N` for every class. If the model
            returns NaN or infinity, probabilities are NaN and the prediction is the first class.
        logits: `float32` `(n, num_classes)`; with several views of an image, the logarithm of the mean probabilities.
    """

    split: str
    metrics: Mapping[str, float]
    per_source: Mapping[str, Mapping[str, float]]
    table: pd.DataFrame
    logits: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """`int` `(n,)`, the true classes."""
        return self.table["label"].to_numpy()


def compile_forward(
    checkpoint: LoadedCheckpoint, image_shape: tuple[int, int, int], *, tta: Sequence[str] = ()
) -> Forward:
    """Makes the function from batches to logits; it is traced once, for all splits and for smaller last batches too.

    `model.predict` traces again for a smaller batch, and takes three times as long on small datasets. A model may have
    its own `predict_step`, which returns something else than logits.

    Args:
        checkpoint: its model takes raw pixels, returns logits `(batch, num_classes)`.
        image_shape: (height, width, channels); grey images are converted to RGB if the model expects RGB.
        tta: names of test-time augmentations, see `make_views`.

    Returns:
        Function from `uint8` images `(batch, height, width, channels)` to `float32` logits `(batch, num_classes)`.
    """
    height, width, channels = image_shape
    model, repeats = checkpoint.model, checkpoint.metadata["input_shape"][-1] // channels

    def logits_of(images: Any) -> Any:
        images = images if repeats == 1 else tf.repeat(images, repeats, axis=-1)
        of_views = [tf.cast(model(view, training=False), tf.float32) for view in make_views(images, tta)]
        if len(of_views) == 1:
            return of_views[0]
        log_probabilities = tf.stack([tf.nn.log_softmax(logits) for logits in of_views])
        return tf.reduce_logsumexp(log_probabilities, axis=0) - tf.math.log(float(len(of_views)))

    signature = [tf.TensorSpec((None, height, width, channels), tf.uint8)]
    return tf.function(logits_of, input_signature=signature, autograph=False)


def predict_split(forward: Forward, datasets: Datasets, split: str, *, scoring: Scoring) -> Predictions:
    """Runs a model once over a split.

    Args:
        forward: from `compile_forward`.
        datasets: contain the split.
        split: `train`, `validation` or `test`.
        scoring: what is measured.

    Raises:
        DataError: an image can no longer be read; the error names it.
    """
    dataset = datasets.dataset
    with naming_unreadable_images(dataset):
        logits = np.concatenate([forward(images).numpy() for images, _ in datasets.split_batches(split)])
    rows = dataset.manifest.iloc[dataset.rows(split)]
    labels, sources = rows["label"].to_numpy(), rows["source"].to_numpy()
    one_hot = np.eye(dataset.num_classes, dtype=np.float32)[labels]
    losses = keras.ops.categorical_crossentropy(one_hot, logits, from_logits=True).numpy()

    def measure(chosen: Any) -> dict[str, float]:
        return scoring.measure(labels[chosen], logits[chosen], dataset.class_names)

    names = sorted(set(sources))
    per_source = {name: measure(sources == name) for name in names} if len(names) > 1 else {}
    table = tabulate(rows, logits, losses)
    return Predictions(split, measure(slice(None)), per_source, table, logits)


def tabulate(rows: pd.DataFrame, logits: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
    """Makes `Predictions.table`.

    Args:
        rows: of the manifest.
        logits: `float32` `(n, num_classes)` of the same examples.
        losses: `(n,)`.
    """
    probabilities = probabilities_of(logits)
    predictions = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), 0)
    table = rows[["key", "source", "label"]].reset_index(drop=True)
    table = table.assign(prediction=predictions, confidence=probabilities.max(axis=1), loss=losses)
    columns = {f"probability_{label}": probabilities[:, label] for label in range(probabilities.shape[1])}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)
