"""Writes the evaluation folder of a split: all of its files, or none."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dlexp.datasets import Dataset
from dlexp.errors import StoreError
from dlexp.evaluation.evaluate import Evaluation
from dlexp.evaluation.options import PAGE_FILE, PREDICTIONS_FILE, REPORT_FILE
from dlexp.evaluation.page import build_page
from dlexp.evaluation.pictures.draw import draw_pictures
from dlexp.evaluation.report import build_report
from dlexp.evaluation.split_prediction import Predictions
from dlexp.machine.atomic import TEMPORARY_PREFIX, atomic_file, write_text_atomically
from dlexp.machine.json_files import write_json


@dataclass(frozen=True)
class EvaluationFolder:
    """A written evaluation.

    Attributes:
        path: the folder.
        report: the contents of `report.json`.
        pictures: PNG files by name.
    """

    path: pathlib.Path
    report: Mapping[str, Any]
    pictures: Mapping[str, pathlib.Path]

    @property
    def metrics(self) -> dict[str, float]:
        """Loss, accuracy and the additional metrics, by name."""
        return dict(self.report["metrics"])

    def predictions(self) -> pd.DataFrame:
        """Reads the table of predictions, with one row per example; see `Predictions.table`."""
        return pd.read_parquet(self.path / PREDICTIONS_FILE)


def write_evaluation(
    folder: pathlib.Path, evaluation: Evaluation, dataset: Dataset, *, cautions: Mapping[str, str]
) -> EvaluationFolder:
    """Writes predictions.parquet, report.json, report.html and all pictures; if that fails, the folder stays unchanged.

    Args:
        folder: where to write; files with the same names are replaced.
        evaluation: of a split.
        dataset: that the split belongs to.
        cautions: see `build_report`.

    Raises:
        StoreError: the folder cannot be made.
    """
    predictions, scores = evaluation.predictions, evaluation.scores
    report = build_report(evaluation.subject, predictions, scores, dataset.class_names, cautions=cautions)
    with _staged(folder) as stage:
        write_predictions(stage, predictions)
        write_json(stage / REPORT_FILE, report)
        pictures = draw_pictures(stage, predictions, scores, dataset)
        write_text_atomically(stage / PAGE_FILE, build_page(report, pictures))
    return EvaluationFolder(folder, report, {name: folder / path.name for name, path in pictures.items()})


def write_predictions(folder: pathlib.Path, predictions: Predictions) -> None:
    """Writes only predictions.parquet."""
    with atomic_file(folder / PREDICTIONS_FILE) as temporary:
        predictions.table.to_parquet(temporary, index=False)


@contextlib.contextmanager
def _staged(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields an empty temporary folder next to `folder`; its files are moved to `folder` when the block ends."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = pathlib.Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=folder.parent))
    except OSError as err:
        raise StoreError(
            f"evaluation folder {str(folder)!r} cannot be written: {err.strerror}: choose another --output"
        ) from err
    try:
        yield stage
        folder.mkdir(exist_ok=True)
        for path in stage.iterdir():
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
