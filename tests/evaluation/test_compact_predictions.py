"""Predictions in a few bytes per example."""

import pathlib

import numpy as np
import pandas as pd
import pytest

from dlexp.evaluation.compact_predictions import COMPACT_FILE, write_compact


def written(folder: pathlib.Path, logits: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    write_compact(folder, logits.astype(np.float32), labels)
    return pd.read_parquet(folder / COMPACT_FILE)


def test_holds_the_class_and_the_probability_of_the_label(tmp_path: pathlib.Path) -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]))
    table = written(tmp_path, logits, np.array([1, 2]))
    assert table["prediction"].tolist() == [0, 2]
    assert table["label_probability"].tolist() == pytest.approx([0.2, 0.4])


@pytest.mark.parametrize(("classes", "dtype"), [(2, "uint8"), (256, "uint8"), (257, "uint16")])
def test_classes_take_as_few_bytes_as_they_need(tmp_path: pathlib.Path, classes: int, dtype: str) -> None:
    logits = np.zeros((3, classes))
    logits[:, -1] = 1.0
    table = written(tmp_path, logits, np.zeros(3, int))
    assert table["prediction"].dtype == dtype
    assert table["prediction"].tolist() == [classes - 1] * 3


def test_extreme_and_broken_logits_are_written(tmp_path: pathlib.Path) -> None:
    table = written(tmp_path, np.array([[1e4, -1e4], [np.nan, 0.0], [np.inf, 0.0]]), np.array([1, 0, 1]))
    assert table["prediction"].tolist() == [0, 0, 0]
    assert table["label_probability"][0] == 0.0
    assert table["label_probability"][1:].isna().all()
