"""The dataset ID: what it depends on and what not."""

import pathlib
import shutil

import pandas as pd
import pytest

from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.dataset import dataset_id
from dlexp.datasets.inspection.description import describe_dataset, describe_in_lines
from dlexp.errors import DataError
from tests.support.image_folders import write_digits_folder

CLASSES = ("cat", "dog")


@pytest.fixture
def manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "digest": ["0a" * 16, "0b" * 16, "0c" * 16, "0d" * 16],
            "label": [0, 1, 0, 1],
            "source": ["one", "one", "two", "two"],
            "split": ["train", "train", "validation", "test"],
        }
    )


def test_id_is_16_hex_digits_and_never_changes(manifest: pd.DataFrame) -> None:
    assert dataset_id(manifest, CLASSES) == "c05ac87c32cc6c83"


def test_row_order_does_not_matter(manifest: pd.DataFrame) -> None:
    assert dataset_id(manifest.iloc[[2, 0, 3, 1]], CLASSES) == dataset_id(manifest, CLASSES)


def test_names_of_sources_do_not_matter_but_their_examples_do(manifest: pd.DataFrame) -> None:
    renamed = manifest.assign(source=["z", "z", "a", "a"])
    regrouped = manifest.assign(source=["one", "two", "one", "two"])
    assert dataset_id(renamed, CLASSES) == dataset_id(manifest, CLASSES)
    assert dataset_id(regrouped, CLASSES) != dataset_id(manifest, CLASSES)


@pytest.mark.parametrize(("column", "value"), [("digest", "0e" * 16), ("label", 1), ("split", "test")])
def test_content_label_and_split_of_every_example_matter(manifest: pd.DataFrame, column: str, value: str | int) -> None:
    changed = manifest.copy()
    changed.loc[0, column] = value
    assert dataset_id(changed, CLASSES) != dataset_id(manifest, CLASSES)


def test_class_names_matter(manifest: pd.DataFrame) -> None:
    assert dataset_id(manifest, ("cat", "cow")) != dataset_id(manifest, CLASSES)


def test_a_copied_and_renamed_folder_has_the_same_id(tmp_path: pathlib.Path) -> None:
    folder = write_digits_folder(tmp_path / "one", 200)
    shutil.copytree(folder, tmp_path / "two")
    one, two = (open_dataset(DataConfig(dataset=f"folder:{tmp_path / name}")) for name in ("one", "two"))
    assert (one.id, one.name, two.name) == (two.id, "one", "two")


def test_split_recipe_changes_the_id() -> None:
    ids = {
        open_dataset(data).id
        for data in (
            DataConfig(),
            DataConfig(split_seed=1),
            DataConfig(test_fraction=0.3),
            DataConfig(validation_fraction=0.2),
            DataConfig(image_size=(16, 16)),  # the same examples in the same splits
        )
    }
    assert len(ids) == 4


def write_official(root: pathlib.Path, **counts: int) -> str:
    """Writes a folder of digits for each split, none twice; returns the expression of the dataset."""
    digits = sorted(write_digits_folder(root / "all", sum(counts.values())).rglob("*.png"), key=lambda path: path.name)
    for split, count in counts.items():
        for path in digits[:count]:
            (root / split / path.parent.name).mkdir(parents=True, exist_ok=True)
            path.rename(root / split / path.parent.name / path.name)
        digits = digits[count:]
    shutil.rmtree(root / "all")
    return f"folder:{root}"


def split_by_folder(dataset: Dataset) -> dict[str, list[str]]:
    """Returns the splits of the examples in each top folder."""
    folders = dataset.manifest["key"].str.partition("/")[0]
    return {str(name): sorted(set(part)) for name, part in dataset.manifest["split"].groupby(folders)}


@pytest.mark.parametrize("names", ["train val test", "Train Valid Test", "training validation testing"])
def test_no_official_test_image_is_trained_on_unless_it_is_asked_for(tmp_path: pathlib.Path, names: str) -> None:
    train, validation, test = names.split()
    dataset = write_official(tmp_path, **{train: 180, validation: 60, test: 90})
    kept = open_dataset(DataConfig(dataset=dataset))
    assert split_by_folder(kept) == {train: ["train"], validation: ["validation"], test: ["test"]}
    assert kept.split_method == "official"
    pooled = open_dataset(DataConfig(dataset=dataset, split_method="stratified"))
    assert split_by_folder(pooled)[test] == ["test", "train", "validation"]
    assert describe_line(pooled) == (
        "official splits are pooled and split anew by --split_method=stratified: train 180, validation 60, test 90; "
        "--split_method=official keeps them"
    )


def describe_line(dataset: Dataset) -> str:
    return list(describe_in_lines(describe_dataset(dataset)))[1]


@pytest.mark.parametrize(("held_out", "missing"), [("test", "validation"), ("val", "test")])
def test_split_that_the_source_lacks_is_taken_from_train_and_told(
    tmp_path: pathlib.Path, held_out: str, missing: str
) -> None:
    dataset = open_dataset(DataConfig(dataset=write_official(tmp_path, train=180, **{held_out: 60})))
    assert split_by_folder(dataset)["train"] == sorted(["train", missing])
    assert len(split_by_folder(dataset)[held_out]) == 1
    assert f"{missing} is taken from train" in describe_line(dataset)


def test_train_folder_alone_is_split_by_shares(tmp_path: pathlib.Path) -> None:
    dataset = open_dataset(DataConfig(dataset=write_official(tmp_path, train=180)))
    assert dataset.split_method == "stratified"
    assert dataset.id == open_dataset(DataConfig(dataset=f"folder:{tmp_path / 'train'}")).id


def test_images_next_to_split_folders_are_refused(tmp_path: pathlib.Path) -> None:
    dataset = write_official(tmp_path, train=180, test=60)
    (tmp_path / "docs").mkdir()
    assert open_dataset(DataConfig(dataset=dataset)).split_method == "official"
    shutil.copytree(tmp_path / "train" / "3", tmp_path / "unlabeled")
    with pytest.raises(DataError, match=r"has the split folders test, train and, with images too, unlabeled: name all"):
        open_dataset(DataConfig(dataset=dataset))


def test_class_named_train_is_a_class(tmp_path: pathlib.Path) -> None:
    write_digits_folder(tmp_path, 60)
    (tmp_path / "3").rename(tmp_path / "train")
    assert "train" in open_dataset(DataConfig(dataset=f"folder:{tmp_path}", batch_size=4)).class_names


def test_joined_sources_keep_official_splits_and_split_the_rest(tmp_path: pathlib.Path) -> None:
    official = write_official(tmp_path / "ours", train=180, test=60)
    write_digits_folder(tmp_path / "plain", 300)
    dataset = open_dataset(DataConfig(dataset=f"{official}+folder:{tmp_path / 'plain'}"))
    by_source = dataset.manifest.groupby("source")["split"].agg(lambda part: sorted(set(part)))
    assert by_source.to_dict() == {name: ["test", "train", "validation"] for name in ("ours", "plain")}
    assert dataset.manifest.groupby("digest")["split"].nunique().max() == 1  # though the digits of ours are in both
    assert "300 examples without one are split by shares" in describe_line(dataset)
