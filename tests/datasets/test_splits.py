"""Splits: disjoint, complete, stable, and equal shares of every class."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
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
    result = splits.official(manifest, split_seed=0, validation_fraction=0.1, test_fraction=0.2)
    assert (result[:10] == "test").all()
    assert sorted(result[10:]) == ["train"] * 27 + ["validation"] * 3


def test_official_keeps_a_validation_set_that_is_there() -> None:
    manifest = make_manifest([4])
    manifest["split"] = ["test", "validation", "", "train"]
    result = splits.official(manifest, split_seed=0, validation_fraction=0.5, test_fraction=0.4)
    assert result.tolist() == ["test", "validation", "train", "train"]


def test_official_without_a_test_set_tells_the_way_out() -> None:
    with pytest.raises(DataError, match="--split_method=stratified"):
        splits.official(
            make_manifest([9]).assign(split="train"), split_seed=0, validation_fraction=0.1, test_fraction=0.2
        )


def test_official_without_a_test_set_takes_it_from_train() -> None:
    manifest = make_manifest([40]).assign(split=["validation"] * 10 + ["train"] * 30)
    result = splits.official(manifest, split_seed=0, validation_fraction=0.5, test_fraction=0.2)
    assert (result[:10] == "validation").all()
    assert sorted(result[10:]) == ["test"] * 6 + ["train"] * 24


def test_official_splits_examples_without_a_mark_by_the_fractions() -> None:
    manifest = make_manifest([10, 40]).assign(split=["train"] * 6 + ["test"] * 4 + [""] * 40)
    result = splits.official(manifest, split_seed=0, validation_fraction=0.1, test_fraction=0.2)
    assert (result[6:10] == "test").all()
    assert np.unique(result[10:], return_counts=True)[1].tolist() == [8, 28, 4]


def test_official_puts_a_copy_without_a_mark_where_the_marked_image_is() -> None:
    digests = [f"{number % 6:032x}" for number in range(12)]
    manifest = pd.DataFrame({"digest": digests, "label": 0, "split": ["test", "validation"] + ["train"] * 4 + [""] * 6})
    result = splits.official(manifest, split_seed=0, validation_fraction=0.5, test_fraction=0.4)
    assert result[6:].tolist() == result[:6].tolist()


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 3), st.sampled_from(["", "train", "validation", "test"])),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 3),
)
def test_official_moves_no_marked_example_but_from_train_to_a_split_that_is_missing(
    rows: list[tuple[int, int, str]], seed: int
) -> None:
    manifest = pd.DataFrame(rows, columns=["image", "label", "split"])
    manifest = manifest.assign(digest=[f"{image:032x}" for image in manifest["image"]])
    assume(splits.has_official(manifest))
    result = splits.official(manifest, split_seed=seed, validation_fraction=0.2, test_fraction=0.3)
    missing = {"validation", "test"} - set(manifest["split"])
    for marked, placed in zip(manifest["split"], result, strict=True):
        assert placed in ("train", "validation", "test")
        assert marked in ("", placed) or (marked == "train" and placed in missing)
    shuffled = manifest.sample(frac=1, random_state=seed)
    again = splits.official(shuffled, split_seed=seed, validation_fraction=0.2, test_fraction=0.3)
    assert (pd.Series(again, shuffled.index).loc[manifest.index] == result).all()


FRACTIONS = {"validation_fraction": 0.2, "test_fraction": 0.3}
METHODS: dict[str, Callable[[pd.DataFrame, int], np.ndarray]] = {
    "stratified": lambda manifest, seed: splits.stratified(manifest, split_seed=seed, **FRACTIONS),
    "hash": lambda manifest, seed: splits.hashed(manifest, split_seed=seed, **FRACTIONS),
    "group": lambda manifest, seed: splits.grouped(manifest, split_seed=seed, **FRACTIONS),
    "folds": lambda manifest, seed: splits.folded(manifest, split_seed=seed, folds=3, fold=1, validation_fraction=0.2),
}
MANIFESTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3), st.integers(0, 6)), min_size=1, max_size=60).map(
    lambda rows: pd.DataFrame(
        {
            "digest": [f"{image:032x}" for image, _, _ in rows],
            "label": [label for _, label, _ in rows],
            "group": [f"patient {group}" for _, _, group in rows],
        }
    )
)


@pytest.mark.parametrize("method", METHODS)
@given(manifest=MANIFESTS, seed=st.integers(0, 2**31 - 1), random=st.randoms(use_true_random=False))
def test_every_method_places_each_image_in_one_split_whatever_the_row_order(
    method: str, manifest: pd.DataFrame, seed: int, random: Any
) -> None:
    assume(method != "group" or splits._joined_groups(manifest).nunique() >= 3)
    placed = METHODS[method](manifest, seed)
    assert set(placed) <= {"train", "validation", "test"}
    assert manifest.assign(split=placed).groupby("digest")["split"].nunique().max() == 1
    order = random.sample(range(len(manifest)), len(manifest))
    assert METHODS[method](manifest.iloc[order].reset_index(drop=True), seed).tolist() == placed[order].tolist()


@given(manifest=MANIFESTS, more=MANIFESTS, seed=st.integers(0, 99))
def test_hash_moves_no_example_when_the_data_grows(manifest: pd.DataFrame, more: pd.DataFrame, seed: int) -> None:
    grown = pd.concat([more, manifest], ignore_index=True)
    assert METHODS["hash"](grown, seed)[len(more) :].tolist() == METHODS["hash"](manifest, seed).tolist()


def test_hash_gives_about_the_shares_asked_for() -> None:
    placed = pd.Series(METHODS["hash"](make_manifest([20_000]), 0)).value_counts(normalize=True)
    assert placed["test"] == pytest.approx(0.3, abs=0.01)
    assert placed["validation"] == pytest.approx(0.2, abs=0.01)


@given(manifest=MANIFESTS, seed=st.integers(0, 99))
def test_group_never_straddles(manifest: pd.DataFrame, seed: int) -> None:
    assume(splits._joined_groups(manifest).nunique() >= 3)
    placed = manifest.assign(split=METHODS["group"](manifest, seed))
    assert placed.groupby("group")["split"].nunique().max() == 1
    assert set(placed["split"]) == {"train", "validation", "test"}


def test_group_meets_the_shares_where_groups_are_small() -> None:
    manifest = make_manifest([100]).assign(group=[f"scene {number // 5}" for number in range(100)])
    counts = pd.Series(METHODS["group"](manifest, 0)).value_counts()
    assert counts.to_dict() == {"train": 50, "test": 30, "validation": 20}


def test_group_of_too_few_groups_is_refused() -> None:
    with pytest.raises(DataError, match=r"2 groups for 3 splits.*--group_column"):
        METHODS["group"](make_manifest([4]).assign(group=["a", "a", "b", "b"]), 0)


def test_over_all_folds_every_image_is_tested_once_and_each_class_evenly() -> None:
    manifest = make_manifest([30, 15])
    tests = [
        splits.folded(manifest, split_seed=0, folds=5, fold=fold, validation_fraction=0.2) == "test"
        for fold in range(5)
    ]
    assert (np.sum(tests, axis=0) == 1).all()
    assert [manifest["label"][test].value_counts().to_dict() for test in tests] == [{0: 6, 1: 3}] * 5


def test_fold_takes_validation_as_a_share_of_all() -> None:
    placed = splits.folded(make_manifest([50, 50]), split_seed=0, folds=5, fold=2, validation_fraction=0.1)
    assert pd.Series(placed).value_counts().to_dict() == {"train": 70, "test": 20, "validation": 10}


def test_groups_of_many_images_are_told_apart() -> None:
    manifest = make_manifest([1000]).assign(group=[f"scene {number // 2}" for number in range(1000)])
    placed = manifest.assign(split=METHODS["group"](manifest, 0))
    assert placed["split"].value_counts().to_dict() == {"train": 500, "test": 300, "validation": 200}
    assert placed.groupby("group")["split"].nunique().max() == 1
