"""The picture of a dataset: one row of places for each class."""

import pathlib
from typing import Any

import numpy as np
import pytest

from dlexp.datasets import ArraySource, Dataset
from dlexp.reports import dataset_samples


def test_class_of_few_examples_keeps_its_row(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [0, 1, 1, 1, 2]
    source = ArraySource("dots", np.zeros((5, 1, 1, 1), np.uint8), labels, ["a", "b", "c"])
    dataset = Dataset("dots", "0" * 16, ("a", "b", "c"), source.manifest.assign(split="train"), source, (1, 1, 1))
    drawn: dict[str, Any] = {}
    monkeypatch.setattr(dataset_samples, "draw_images", lambda path, images, captions, **_: drawn.update(c=captions))
    dataset_samples.write_samples(dataset, tmp_path / "a.png", per_class=3)
    assert drawn["c"] == ["a", "", "", "b", "b", "b", "c", "", ""]
