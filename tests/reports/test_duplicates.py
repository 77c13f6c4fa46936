"""Groups of copies are drawn, one a row."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from dlexp.datasets import ArraySource, Dataset
from dlexp.datasets.inspection.duplicates import find_duplicates
from dlexp.reports.duplicates import draw_duplicates


def make_dataset(numbers: list[int]) -> Dataset:
    """Equal numbers are equal images."""
    images = np.array(numbers, dtype=np.uint8).reshape(-1, 1, 1, 1)
    source = ArraySource("dots", images, [0] * len(numbers), ["a", "b"])
    return Dataset("dots", "0" * 16, ("a", "b"), source.manifest.assign(split="train"), source, (1, 1, 1))


@pytest.mark.parametrize(
    ("numbers", "rows"), [([1, 2], 1), ([1, 2, 1], 1), ([1, 2, 2, 1] * 4, 2), ([*range(9)] * 2, 3)]
)
def test_each_group_has_a_row(tmp_path: pathlib.Path, numbers: list[int], rows: int) -> None:
    dataset = make_dataset(numbers)
    draw_duplicates(tmp_path / "copies.png", dataset, find_duplicates(dataset).groups, most_groups=3)
    with Image.open(tmp_path / "copies.png") as picture:
        assert picture.height == pytest.approx(120 * (1.0 + 1.3 * 1.6 * rows), abs=2)
