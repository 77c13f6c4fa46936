"""Run folders without a training, for tests of what compares runs."""

import json
import pathlib
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.evaluation.compact_predictions import write_compact
from dlexp.evaluation.options import FOLDER, PREDICTIONS_FILE
from dlexp.runs.run import DESCRIPTION_FILE, MANIFEST_FILE, Run, Status, create_run

_STARTED = "2026-01-01T00:00:{:02d}.000Z"


def make_run(
    store: pathlib.Path,
    accuracy: float = 0.9,
    *,
    answers: Sequence[bool] | np.ndarray | None = None,
    validation: Sequence[bool] | np.ndarray | None = None,
    record: dict[str, Any] | None = None,
    classes: int = 10,
    **fields: Any,
) -> Run:
    """Makes a finished run.

    Args:
        store: folder of the store.
        accuracy: of validation and test.
        answers: whether the best checkpoint is right on each test example; None: there are no predictions.
        validation: the same for validation, in the compact form that trials have.
        record: further fields of `run.json`, such as `status`.
        classes: number of classes.
        fields: of the config.
    """
    config = ExperimentConfig.of(**fields)
    count = len(list((store / "artifacts").glob("*"))) if store.exists() else 0
    run = create_run(
        store, uuid.uuid4().hex, name=f"run-{count}", config=config, dataset_id="d1", dataset_name="digits"
    )
    metrics = {"val_accuracy": accuracy, "test_accuracy": accuracy, "test_loss": 1 - accuracy, "loss": 0.1}
    times = {"started": _STARTED.format(count), "ended": _STARTED.format(count + 30)}
    known = {"best_epoch": 1, "num_parameters": 1000, "peak_memory_bytes": 2**30, "metrics": metrics}
    run.update(**times, **{"status": Status.FINISHED, **known, **(record or {})})
    description = {"counts": {"train": 80, "test": 20}, "counts_by_class": {str(label): {} for label in range(classes)}}
    _write(run.path / DESCRIPTION_FILE, json.dumps(description))
    if answers is not None:
        right = np.asarray(answers)
        keys = [f"image-{number:03d}" for number in range(len(right))]
        table = pd.DataFrame({"key": keys, "label": 0, "prediction": np.where(right, 0, 1)})
        (run.path / FOLDER / "test").mkdir(parents=True)
        table.to_parquet(run.path / FOLDER / "test" / PREDICTIONS_FILE)
    if validation is not None:
        right = np.asarray(validation)
        logits = np.stack([right, ~right], axis=1).astype(np.float32)  # the class of all examples is 0
        write_compact(run.path / FOLDER / "validation", logits, np.zeros(len(right), int))
        keys = [f"validation-{number:03d}" for number in range(len(right))]
        pd.DataFrame({"key": keys, "label": 0, "split": "validation"}).to_parquet(run.path / MANIFEST_FILE)
    return run


def make_code(run: Run, *, commit: str, version: str = "0.1.0") -> None:
    """Records what code a run was trained with."""
    _write(run.path / "environment" / "git.json", json.dumps({"commit": commit, "branch": "main"}))
    _write(run.path / "environment" / "packages.txt", f"dlexp=={version}\ntensorflow==2.21.0\n")


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
