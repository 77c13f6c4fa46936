"""Reads the recorded predictions of runs, and which of them are right on the examples that two runs share."""

import pathlib

import numpy as np
import pandas as pd

from dlexp.checkpoints.metadata import read_metadata
from dlexp.errors import DataError, StoreError
from dlexp.evaluation.compact_predictions import COMPACT_FILE
from dlexp.evaluation.options import FOLDER, PREDICTIONS_FILE
from dlexp.evaluation.prediction_file import probability_columns
from dlexp.runs.run import Run
from dlexp.runs.store import find_run


def read_answers(run: Run, split: str) -> pd.DataFrame:
    """Reads what the best checkpoint of a run predicts for a split.

    Args:
        run: a finished run.
        split: `validation` or `test`.

    Returns:
        Columns `label` and `prediction` (classes), indexed by the key of the example, in the order of the manifest.

    Raises:
        StoreError: the run has no predictions for the split.
    """
    folder = run.path / FOLDER / split
    if (folder / PREDICTIONS_FILE).is_file():
        return pd.read_parquet(folder / PREDICTIONS_FILE, columns=["key", "label", "prediction"]).set_index("key")
    if not (folder / COMPACT_FILE).is_file():
        raise StoreError(
            f"run {run.id[:8]} has no predictions for {split}: make them with dlexp evaluate {run.id[:8]} "
            f"--split={split}"
        )
    manifest = run.manifest()
    examples = manifest.loc[manifest["split"] == split, ["key", "label"]].set_index("key")
    return examples.assign(prediction=pd.read_parquet(folder / COMPACT_FILE)["prediction"].to_numpy())


def right_answers(run: Run, split: str) -> "pd.Series[bool]":
    """Returns whether the best checkpoint of a run is right for every example, with the arguments of `read_answers`."""
    table = read_answers(run, split)
    return table["label"] == table["prediction"]


def load_predictions(
    reference: str | pathlib.Path, split: str = "test", *, store: str | pathlib.Path = "mlruns"
) -> pd.DataFrame:
    """Loads what the best checkpoint of a run predicts for every example of a split.

    Args:
        reference: the run by ID, prefix, name, folder or `latest`.
        split: `validation` or `test`.
        store: folder of the store.

    Returns:
        One row per example, in the order of the manifest. Columns: key, label and prediction (names of classes), right
        (whether they are equal), confidence (probability of the prediction), loss, and `probability_NAME` for every
        class. Validation of a run without evaluation report has label_probability in place of the last three.

    Raises:
        RunNotFoundError: no run matches, or several do.
        StoreError: the run has no predictions for the split.

    Example:
        >>> table = load_predictions("latest")
        >>> table[~table["right"]].sort_values("confidence")
    """
    run = find_run(reference, store)
    names = np.asarray(_class_names(run), object)
    path = run.path / FOLDER / split / PREDICTIONS_FILE
    if path.is_file():
        table = pd.read_parquet(path)
        known = [f"probability_{label}" for label in range(len(names))]
        table = table.rename(columns=dict(zip(known, probability_columns(names.tolist()), strict=True)))
    else:
        table = read_answers(run, split).reset_index()
        table["label_probability"] = pd.read_parquet(path.with_name(COMPACT_FILE))["label_probability"].to_numpy()
    labels, predictions = table["label"].to_numpy(), table["prediction"].to_numpy()
    table["label"], table["prediction"] = pd.array(names[labels], "str"), pd.array(names[predictions], "str")
    table.insert(table.columns.tolist().index("prediction") + 1, "right", labels == predictions)
    return table


def _class_names(run: Run) -> list[str]:
    record = run.record()
    if "best_checkpoint" not in record:
        raise StoreError(f"run {run.id[:8]} has no best checkpoint, so it predicts nothing: choose a finished run")
    return list(map(str, read_metadata(run.path / record["best_checkpoint"])["class_names"]))


def common_right_answers(a: Run, b: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether two runs are right, `bool` `(n,)` each, for the examples of a split that both have.

    Raises:
        StoreError: a run has no predictions for the split.
        DataError: the runs have no example in common.
    """
    of_a, of_b = (right_answers(run, split) for run in (a, b))
    common = of_a.index.intersection(of_b.index, sort=False)
    if not len(common):
        raise DataError(
            f"runs {a.id[:8]} and {b.id[:8]} have no {split} example in common, so their answers cannot be compared: "
            "compare runs of one dataset"
        )
    return of_a.loc[common].to_numpy(), of_b.loc[common].to_numpy()
