"""Images that are nearly black, as their values use a small part of the range."""

import numpy as np
import pytest

from dlexp.datasets import ArraySource, Dataset
from dlexp.datasets.inspection.duplicates import find_duplicates
from dlexp.datasets.inspection.findings import find_problems
from dlexp.datasets.inspection.unused_bits import unused_bits


def dataset_of(brightest: int) -> Dataset:
    images = np.random.default_rng(0).integers(0, brightest + 1, (40, 6, 6), np.uint8)
    images[:, 0, 0] = brightest
    source = ArraySource("scans", images, np.arange(40) % 2, ("a", "b"))
    manifest = source.manifest.assign(split="train")
    return Dataset("scans", "0" * 16, source.class_names, manifest, source, (6, 6, 1))


@pytest.mark.parametrize("brightest", [1, 16, 63])
def test_arrays_that_were_never_scaled_are_found(brightest: int) -> None:
    dataset = dataset_of(brightest)
    message = f"the greatest value of the images of scans is {brightest}, where 255 is white"
    assert unused_bits(dataset).startswith(message)
    problems = find_problems(dataset, find_duplicates(dataset, near_duplicates=False))
    found = problems[problems["check"] == "unused_bits"].iloc[0]
    assert (found["severity"], found["count"]) == ("warning", 40)


@pytest.mark.parametrize("brightest", [64, 255])
def test_bright_arrays_are_not(brightest: int) -> None:
    assert unused_bits(dataset_of(brightest)) == ""
