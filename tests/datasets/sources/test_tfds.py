"""Datasets of TensorFlow Datasets: which features are read, and how it refuses what it cannot read."""

import sys
from typing import Any

import numpy as np
import pytest

from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.errors import ConfigError, DataError
from tests.support.fake_libraries import TfdsBuilder, TfdsClassLabel, TfdsImage, fake_tfds, image_rows

SPLITS = {"train": image_rows(0, 30), "validation": image_rows(30, 6), "test": image_rows(36, 10)}


def open_tfds(monkeypatch: pytest.MonkeyPatch, builder: TfdsBuilder, **settings: Any) -> Dataset:
    def build(name: str, file_format: str | None = None) -> TfdsBuilder:
        assert (name, file_format) in {("bars/wide:1.0.0", None), ("bars/wide:1.0.0", "array_record")}
        return builder

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake_tfds(build))
    return open_dataset(DataConfig(dataset="tfds:bars/wide:1.0.0", batch_size=4, image_size=(8, 8), **settings))


def test_a_dataset_has_its_splits_classes_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_tfds(monkeypatch, TfdsBuilder(SPLITS | {"extra": []}))
    assert (dataset.name, dataset.class_names) == ("bars", ("dark", "bright"))
    assert dataset.counts().sum().tolist() == [30, 6, 10]
    assert dataset.source.read(31).mean() > 128 > dataset.source.read(30).mean()
    assert dataset.source.read(2).shape == (9, 7, 3)


def test_a_dataset_that_is_not_prepared_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(open_tfds(monkeypatch, TfdsBuilder(SPLITS, is_prepared=False)).manifest) == 46


def test_of_several_features_the_supervised_ones_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    features = {"coarse_label": TfdsClassLabel(("all",)), "image": TfdsImage(), "label": TfdsClassLabel()}
    rows = [row | {"coarse_label": 0} for row in SPLITS["train"]]
    dataset = open_tfds(monkeypatch, TfdsBuilder({"train": rows}, features, supervised_keys=("image", "label")))
    assert dataset.class_names == ("dark", "bright")


def test_a_dataset_without_a_plain_choice_is_refused_with_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = TfdsBuilder(SPLITS, {"image": TfdsImage(), "one": TfdsClassLabel(), "two": TfdsClassLabel()})
    with pytest.raises(DataError, match=r"image \(TfdsImage\), one \(TfdsClassLabel\).*of the type TfdsClassLabel"):
        open_tfds(monkeypatch, builder)


def test_images_of_fractions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = TfdsBuilder(SPLITS, {"image": TfdsImage(np.float32), "label": TfdsClassLabel()})
    with pytest.raises(DataError, match="are float32"):
        open_tfds(monkeypatch, builder)


class RequestsConnectionError(OSError):
    """`requests.exceptions.ConnectionError`, which is no builtin."""


RequestsConnectionError.__name__ = "ConnectionError"


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RequestsConnectionError("Max retries exceeded"), "cannot be downloaded without a network: prepare it once"),
        (ConnectionError("no route"), "cannot be downloaded without a network: prepare it once"),
        (ValueError("Dataset bars not found.\nAvailable datasets:"), r"cannot be loaded: Dataset bars not found\.$"),
    ],
)
def test_a_dataset_that_cannot_be_had_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, failure: Exception, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_tfds(monkeypatch, TfdsBuilder(SPLITS, failure=failure, is_prepared=False))


def test_a_format_without_random_access_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = NotImplementedError("Random access data source for file format tfrecord is not supported")
    with pytest.raises(DataError, match=r"'/prepared/bars/1\.0\.0' in a format that cannot be read in any order"):
        open_tfds(monkeypatch, TfdsBuilder(SPLITS, failure=failure))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(
        ConfigError,
        match=r"pip install 'tensorflow-datasets>=4.9.9' 'importlib_resources>=6.0', or in a clone .* '.\[tfds\]'",
    ):
        open_dataset(DataConfig(dataset="tfds:mnist"))


def test_a_name_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake_tfds(lambda name: TfdsBuilder(SPLITS)))
    with pytest.raises(DataError, match="--dataset=tfds:NAME"):
        open_dataset(DataConfig(dataset="tfds"))
