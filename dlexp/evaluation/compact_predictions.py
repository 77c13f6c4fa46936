"""Predictions for a split in five to nine bytes per example, without the probabilities of all classes.

Every trial of a sweep keeps those for validation. How much of the score of the winner is luck can only be computed from
the answers of all trials, example by example (Tsamardinos et al. 2018, https://doi.org/10.1007/s10994-018-5714-4).
"""

import pathlib

import numpy as np
import pandas as pd

from dlexp.machine.atomic import atomic_file

COMPACT_FILE = "compact.parquet"


def write_compact(folder: pathlib.Path, logits: np.ndarray, labels: np.ndarray) -> None:
    """Writes `compact.parquet`: one row per example of the split, in the order of the manifest, without its keys.

    Columns: `prediction` (the class, in the smallest integer type that holds all classes; the first class if a logit is
    NaN or infinite) and `label_probability` (`float32`, of the true class).

    Args:
        folder: of the evaluation of the split; it is made.
        logits: `float32` `(n, num_classes)`.
        labels: `int` `(n,)`, the true classes.
    """
    predictions = np.where(np.isfinite(logits).all(axis=1), logits.argmax(axis=1), 0)
    with np.errstate(all="ignore"):
        shifted = logits - logits.max(axis=1, keepdims=True)
        of_label = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))
        table = pd.DataFrame(
            {
                "prediction": predictions.astype(np.min_scalar_type(logits.shape[1] - 1)),
                "label_probability": np.exp(of_label).astype(np.float32),
            }
        )
    with atomic_file(folder / COMPACT_FILE) as temporary:
        table.to_parquet(temporary, index=False)
