"""Splits: disjoint, complete, stable, and equal shares of every class."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.datasets import splits
from dlexp.errors import DataError


def make_manifest(counts: list[int]) -> pd.DataFrame:
    labels = np.repeat(np.arange(len(counts)), counts)
    digests = [hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest() for number in range(len(labels))]
    return pd.DataFrame({"digest": digests, "label": labels, "split": ""})


def split(manifest: pd.DataFrame, seed: int = 0, validation: float = 0.1, test: float = 0.2) -> np.ndarray:
    return splits.stratified(manifest, split_seed=seed, validation_fraction=validation, test_fraction=test)


@given(st.lists(st.integers(3, 60), min_size=1, max_size=6), st.integers(0, 2**31 - 1), st.floats(0.01, 0.49))
def test_each_class_of_three_has_an_example_in_every_split(counts: list[int], seed: int, fraction: float) -> None:
    manifest = make_manifest(counts)
    manifest["split"] = split(manifest, seed, fraction, fraction)
    assert set(manifest["split"]) == {"train", "validation", "test"}
    assert (pd.crosstab(manifest["label"], manifest["split"]) >= 1).all(axis=None)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.randoms(use_true_random=False), st.integers(0, 9))
def test_split_does_not_depend_on_row_order(counts: list[int], random: object, seed: int) -> None:
    manifest = make_manifest(counts)
    order = list(range(len(manifest)))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert split(manifest, seed)[order].tolist() == split(manifest.iloc[order].reset_index(drop=True), seed).tolist()


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), min_size=1, max_size=40), st.integers(0, 9))
def test_images_with_equal_digests_are_in_the_same_split_whatever_their_labels(
    examples: list[tuple[int, int]], seed: int
) -> None:
    manifest = pd.DataFrame(examples, columns=["image", "label"])
    manifest["digest"] = [f"{image:032x}" for image in manifest["image"]]
    manifest["split"] = split(manifest, seed)
    assert manifest.groupby("digest")["split"].nunique().max() == 1


def test_shares_are_those_asked_for() -> None:
    manifest = make_manifest([100, 50])
    manifest["split"] = split(manifest)
    counts = pd.crosstab(manifest["label"], manifest["split"])
    assert counts["train"].tolist() == [70, 35]
    assert counts["validation"].tolist() == [10, 5]
    assert counts["test"].tolist() == [20, 10]


def test_another_split_seed_gives_another_split() -> None:
    manifest = make_manifest([30, 30])
    assert (split(manifest, 0) == split(manifest, 0)).all()
    assert (split(manifest, 0) != split(manifest, 1)).any()


def test_the_split_of_known_digests_never_changes() -> None:
    assert split(make_manifest([6])).tolist() == ["validation", "train", "train", "train", "train", "test"]


def test_a_class_of_one_image_is_trained_on() -> None:
    assert split(make_manifest([1]), validation=0.45, test=0.45).tolist() == ["train"]


def test_official_keeps_the_test_set_and_takes_validation_from_the_rest() -> None:
    manifest = make_manifest([40])
    manifest["split"] = ["test"] * 10 + ["train"] * 30
    result = splits.official(manifest, split_seed=0, validation_fraction=0.1)
    assert (result[:10] == "test").all()
    assert sorted(result[10:]) == ["train"] * 27 + ["validation"] * 3


def test_official_keeps_a_validation_set_that_is_there() -> None:
    manifest = make_manifest([4])
    manifest["split"] = ["test", "validation", "", "train"]
    result = splits.official(manifest, split_seed=0, validation_fraction=0.5)
    assert result.tolist() == ["test", "validation", "train", "train"]


def test_official_without_a_test_set_tells_the_way_out() -> None:
    with pytest.raises(DataError, match="--split_method=stratified"):
        splits.official(make_manifest([9]), split_seed=0, validation_fraction=0.1)
