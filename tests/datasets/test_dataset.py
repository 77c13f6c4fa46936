"""The dataset ID: what it depends on and what not."""

import pathlib
import shutil

import pandas as pd
import pytest

from dlexp.config.sections import DataConfig
from dlexp.datasets import open_dataset
from dlexp.datasets.dataset import dataset_id
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
