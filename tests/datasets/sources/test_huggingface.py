"""Datasets of Hugging Face: which columns are read, and how it refuses what it cannot read."""

import io
import pathlib
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.errors import ConfigError, DataError
from tests.support.fake_libraries import (
    HuggingFaceClassLabel,
    HuggingFaceImage,
    HuggingFaceTable,
    encoded_image,
    fake_datasets,
    image_features,
    image_rows,
)

TRAIN = HuggingFaceTable(image_rows(0, 30), image_features())
TEST = HuggingFaceTable(image_rows(30, 10), image_features())


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[Any, ...], Any]:
    """What is loaded, by the arguments of the call; an exception is raised."""
    known: dict[tuple[Any, ...], Any] = {}

    def load(*arguments: Any) -> Any:
        found = known[arguments]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setitem(sys.modules, "datasets", fake_datasets(load))
    return known


def open_hub(name: str, **settings: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"hf:{name}", batch_size=4, image_size=(8, 8), **settings))


def test_a_dataset_of_the_hub_has_its_splits_classes_and_pixels(hub: dict[Any, Any]) -> None:
    hub["me/bars", None] = {"train": TRAIN, "test": TEST, "extra": TEST}
    dataset = open_hub("me/bars")
    assert (dataset.name, dataset.class_names) == ("bars", ("dark", "bright"))
    assert dataset.counts().sum().tolist() == [28, 2, 10]
    assert dataset.manifest["key"].iloc[[0, -1]].tolist() == ["train/00000", "test/00009"]
    assert dataset.source.read(31).mean() > 128 > dataset.source.read(30).mean()
    assert dataset.source.read(2).shape == (9, 7, 3)


def test_the_configuration_follows_a_colon(hub: dict[Any, Any]) -> None:
    hub["me/bars", "wide"] = {"train": TRAIN}
    assert len(open_hub("me/bars:wide").manifest) == 30


def test_a_folder_is_loaded_from_there(hub: dict[Any, Any], tmp_path: pathlib.Path) -> None:
    (tmp_path / "photos").mkdir()
    hub[(str(tmp_path / "photos"),)] = TRAIN
    assert open_hub("photos", data_dir=str(tmp_path)).name == "photos"


def test_an_image_that_is_stored_as_a_path_is_read_from_there(hub: dict[Any, Any], tmp_path: pathlib.Path) -> None:
    rows = image_rows(0, 30)
    (tmp_path / "7.png").write_bytes(encoded_image(7))
    rows[7]["image"] = {"bytes": None, "path": str(tmp_path / "7.png")}
    hub["bars", None] = {"train": HuggingFaceTable(rows, image_features())}
    assert open_hub("bars").manifest["digest"].nunique() == 30


def test_a_split_without_labels_is_left_out(hub: dict[Any, Any]) -> None:
    unlabelled = HuggingFaceTable([row | {"label": -1} for row in TEST.rows], image_features())
    hub["bars", None] = {"train": TRAIN, "test": unlabelled}
    assert set(open_hub("bars").source.manifest["split"]) == {"train"}


def test_an_image_that_cannot_be_read_is_damage(hub: dict[Any, Any]) -> None:
    rows = image_rows(0, 30)
    rows[4]["image"] = None
    rows[5]["image"] = {"bytes": b"some text", "path": None}
    hub["bars", None] = {"train": HuggingFaceTable(rows, image_features())}
    with pytest.raises(DataError, match=r"2 of 30 images .*'train/00004': it has zero bytes"):
        open_hub("bars")
    dataset = open_hub("bars", on_bad_image="skip")
    assert dataset.manifest["key"].iloc[5] == "train/00007"
    assert np.array_equal(dataset.source.read(5), np.asarray(Image.open(io.BytesIO(encoded_image(7)))))


def test_of_several_columns_the_usual_names_are_taken(hub: dict[Any, Any]) -> None:
    features = {"thumbnail": HuggingFaceImage(), "coarse": HuggingFaceClassLabel(("all",)), **image_features()}
    rows = [row | {"thumbnail": None, "coarse": 0} for row in TRAIN.rows]
    hub["bars", None] = {"train": HuggingFaceTable(rows, features)}
    assert open_hub("bars").class_names == ("dark", "bright")


@pytest.mark.parametrize("features", [{"text": object()}, {"one": HuggingFaceImage(), "two": HuggingFaceImage()}])
def test_a_dataset_without_a_plain_choice_is_refused_with_its_columns(hub: dict[Any, Any], features: Any) -> None:
    hub["bars", None] = {"train": HuggingFaceTable(TRAIN.rows, features)}
    with pytest.raises(DataError, match=rf"has the columns {next(iter(features))} .*of the type HuggingFaceImage"):
        open_hub("bars")


def test_a_dataset_of_other_splits_is_refused_with_them(hub: dict[Any, Any]) -> None:
    hub["bars", None] = {"extra": TRAIN, "more": TRAIN}
    with pytest.raises(DataError, match="has the splits extra, more"):
        open_hub("bars")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (ConnectionError("Couldn't reach 'bars' on the Hub"), "Hub cannot be reached: load it once"),
        (ValueError("Config name is missing.\nPick one"), r"cannot be loaded .*: Config name is missing\.$"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_told_in_one_sentence(
    hub: dict[Any, Any], failure: Exception, message: str
) -> None:
    hub["bars", None] = failure
    with pytest.raises(DataError, match=message):
        open_hub("bars")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'datasets>=4.0', or in a clone of dlexp pip install '.\[hf\]'"):
        open_hub("bars")


def test_a_name_is_needed(hub: dict[Any, Any]) -> None:
    with pytest.raises(DataError, match="--dataset=hf:OWNER/NAME"):
        open_hub("")
