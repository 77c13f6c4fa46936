"""Every fault planted in a folder of photographs is reported as what it is, and nothing else is reported."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, Dataset, open_dataset
from dlexp.datasets.inspection.duplicates import Duplicates, find_duplicates
from dlexp.datasets.inspection.findings import cut_keys, find_exact_leaks, find_problems
from tests.datasets.inspection.test_duplicates import cut_photos

_MIRROR = Image.Transpose.FLIP_LEFT_RIGHT


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three classes of photographs in official splits, clean but for what is planted."""
    root = tmp_path_factory.mktemp("photos")
    photos = cut_photos(45, side=64)
    for number, photo in enumerate(photos):
        split, name = ("train", "train", "train", "validation", "test")[number // 3 % 5], "abc"[number % 3]
        _save(photo, root / split / name / f"{number:02d}.png")
    small = photos[4].resize((40, 40), Image.Resampling.LANCZOS)
    _save(photos[0], root / "train" / "a" / "exact.png")
    _save(photos[1], root / "train" / "b" / "recoded.jpg", quality=60)
    _save(small, root / "train" / "b" / "resized.png")
    _save(photos[5].transpose(_MIRROR), root / "train" / "c" / "mirrored.jpg", quality=90)
    _save(photos[2], root / "train" / "a" / "mislabelled.jpg", quality=75)
    _save(photos[3].transpose(_MIRROR), root / "train" / "b" / "reflected.png")
    _save(photos[6], root / "test" / "a" / "leaked.png")
    _save(photos[7], root / "test" / "b" / "leaked.jpg", quality=75)
    _save(photos[8], root / "validation" / "a" / "leaked.png")
    return open_dataset(
        DataConfig(dataset=f"folder:{root}", split_method="official", image_size=(64, 64), batch_size=4)
    )


def _save(photo: Image.Image, path: pathlib.Path, **settings: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.save(path, **settings)


def test_every_planted_fault_is_told_and_nothing_else(planted: Dataset) -> None:
    damaged = pd.DataFrame({"key": ["train/a/cut.jpg"], "reason": ["it is a JPEG without its end, cut off"]})
    problems = find_problems(planted, find_duplicates(planted), damaged)
    reported = set(problems[["severity", "check", "keys"]].itertuples(index=False, name=None))
    assert reported == {
        ("error", "damaged", ("train/a/cut.jpg",)),
        ("error", "leak", ("test/a/leaked.png", "train/a/06.png")),
        ("error", "leak", ("test/b/leaked.jpg", "train/b/07.png")),
        ("error", "leak", ("train/c/08.png", "validation/a/leaked.png")),
        ("error", "conflicting_labels", ("train/c/08.png", "validation/a/leaked.png")),
        ("error", "conflicting_labels", ("train/a/mislabelled.jpg", "train/c/02.png")),
        ("note", "mirrored", ("train/a/03.png", "train/b/reflected.png")),
        ("warning", "exact_duplicate", ("train/a/00.png", "train/a/exact.png")),
        ("warning", "near_duplicate", ("train/b/01.png", "train/b/recoded.jpg")),
        ("warning", "near_duplicate", ("train/b/04.png", "train/b/resized.png")),
        ("warning", "near_duplicate", ("train/c/05.png", "train/c/mirrored.jpg")),
    }
    assert problems["severity"].tolist() == ["error"] * 6 + ["warning"] * 4 + ["note"]


def test_exact_leaks_are_told_from_the_digests_alone(planted: Dataset) -> None:
    leaks = find_exact_leaks(planted.manifest)
    assert set(leaks["keys"]) == {
        ("test/a/leaked.png", "train/a/06.png"),
        ("train/c/08.png", "validation/a/leaked.png"),
    }
    assert leaks["message"].iloc[0].endswith("(1)")


def test_a_leak_says_how_many_are_in_which_split() -> None:
    manifest = pd.DataFrame({"key": list("pqrst"), "digest": ["1"] * 3 + ["2"] * 2})
    manifest["split"] = ["test", "train", "train", "test", "test"]
    leaks = find_exact_leaks(manifest)
    assert leaks.to_dict("records") == [
        {
            "check": "leak",
            "severity": "error",
            "count": 3,
            "keys": ("p", "q", "r"),
            "message": "equal images are in train (2) and test (1)",
        }
    ]


def test_all_keys_are_kept_and_only_people_see_five() -> None:
    manifest = pd.DataFrame({"key": list("pqrstuvw"), "digest": "1", "split": ["train"] * 4 + ["test"] * 4})
    (keys,) = find_exact_leaks(manifest)["keys"]
    assert keys == tuple("pqrstuvw")
    assert cut_keys(keys) == "p, q, r, s, t and 3 more"


def test_a_clean_dataset_has_no_findings() -> None:
    digits = open_dataset(DataConfig())
    assert find_problems(digits, find_duplicates(digits)).empty
    assert find_exact_leaks(digits.manifest).empty


def test_examples_of_no_split_are_no_leak() -> None:
    """A measurement of memory uses only some of the examples."""
    manifest = pd.DataFrame({"key": list("pqr"), "digest": "1", "split": ["not used", "test", "test"]})
    assert find_exact_leaks(manifest).empty


def judge(*copies: tuple[int, str, int]) -> list[tuple[str, str, tuple[str, ...]]]:
    """Judges a group of copies of one image, each with its label, split and orientation."""
    labels, splits, upright = zip(*copies, strict=True)
    dataset = make_dataset([*labels, 0, 1], [*splits, "train", "train"])
    columns = {"position": range(len(copies)), "group": 0, "upright": upright}
    groups = pd.DataFrame(columns, dtype="int64")
    unreadable = pd.DataFrame({"key": [], "reason": []})
    problems = find_problems(dataset, Duplicates(groups, unreadable))
    problems = problems[problems["check"] != "imbalance"]
    return list(problems[["check", "severity", "keys"]].itertuples(index=False, name=None))


def test_mirror_images_of_different_classes_are_a_note_in_any_splits() -> None:
    note = [("mirrored", "note", ("00000", "00001"))]
    assert judge((0, "train", 0), (1, "train", 1)) == note
    assert judge((0, "train", 0), (1, "test", 1)) == note


def test_mirror_images_of_one_class_are_a_warning() -> None:
    assert judge((0, "train", 0), (0, "test", 1)) == [("mirrored", "warning", ("00000", "00001"))]
    assert judge((0, "train", 0), (0, "train", 1)) == [("near_duplicate", "warning", ("00000", "00001"))]


def test_copies_in_one_orientation_are_judged_apart_from_their_mirror_images() -> None:
    assert judge((0, "train", 0), (0, "test", 0), (1, "train", 1)) == [
        ("leak", "error", ("00000", "00001")),
        ("mirrored", "note", ("00000", "00001", "00002")),
    ]


def make_dataset(labels: list[int], splits: list[str], **columns: Any) -> Dataset:
    images = 255 - np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    source = ArraySource("dots", images, labels, ["a", "b"])
    manifest = source.manifest.assign(split=splits, **columns)
    return Dataset("dots", "0" * 16, ("a", "b"), manifest, source, (1, 1, 1))


def find_odd(dataset: Dataset) -> list[tuple[str, str, int, tuple[str, ...]]]:
    problems = find_problems(dataset, find_duplicates(dataset, near_duplicates=False))
    return list(problems[["check", "severity", "count", "keys"]].itertuples(index=False, name=None))


def test_a_class_ten_times_smaller_than_another_is_told() -> None:
    assert find_odd(make_dataset([0] * 29 + [1] * 3, ["train"] * 32)) == []
    assert find_odd(make_dataset([0] * 30 + [1] * 3, ["train"] * 33)) == [("imbalance", "warning", 3, ())]


def test_a_class_that_is_not_tested_is_told() -> None:
    dataset = make_dataset([0, 1, 0], ["train", "train", "test"])
    problems = find_problems(dataset, find_duplicates(dataset, near_duplicates=False))
    assert problems["message"].tolist() == ["1 of 2 classes have no example in test: b"]


@pytest.mark.parametrize(("height", "width"), [(11, 11), (300, 300), (40, 10)])
def test_an_image_of_another_size_or_form_is_told(height: int, width: int) -> None:
    sizes = {"height": [50] * 9 + [height], "width": [50] * 9 + [width]}
    dataset = make_dataset([0, 1] * 5, ["train"] * 10, **sizes)
    assert find_odd(dataset) == [("odd_size", "note", 1, ("00009",))]


def test_other_modes_than_the_usual_are_told() -> None:
    dataset = make_dataset([0, 1] * 3, ["train"] * 6, mode=["RGB", "RGB", "RGB", "L", "RGBA", "RGBA"])
    assert find_odd(dataset) == [("odd_mode", "warning", 2, ("00004", "00005")), ("odd_mode", "note", 1, ("00003",))]


def test_class_names_that_look_alike_are_told_and_can_be_told_apart_in_the_message() -> None:
    dataset = dataclasses.replace(make_dataset([0, 1], ["train", "train"]), class_names=("caf\u00e9", "cafe\u0301"))
    problems = find_problems(dataset, find_duplicates(dataset, near_duplicates=False))
    assert problems["check"].tolist() == ["similar_names"]
    assert "'cafe\\u0301', 'caf\\xe9'" in problems["message"].iloc[0]


def test_sources_and_keys_that_look_alike_are_told() -> None:
    columns = {"source": ["site A", "site a"], "key": ["a/1.png", "a/1.PNG"]}
    dataset = make_dataset([0, 1], ["train", "train"], **columns)
    assert find_odd(dataset) == [
        ("similar_names", "warning", 2, ("site A", "site a")),
        ("similar_names", "note", 2, ("a/1.PNG", "a/1.png")),
    ]


def test_keys_for_people_stay_on_one_line() -> None:
    assert cut_keys(["a\nb.png", "café.png"]) == "a\\nb.png, café.png"
