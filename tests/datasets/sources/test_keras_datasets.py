"""Datasets of Keras: read from its cache, and what is said where they are not there."""

import keras
import numpy as np
import pytest

from dlexp.config.sections import DataConfig
from dlexp.datasets import open_dataset
from dlexp.datasets.sources.keras_datasets import open_keras
from dlexp.errors import DataError, UnknownNameError
from tests.support.keras_cache import empty_keras_cache, write_fashion_mnist


def test_a_dataset_is_read_from_the_cache_of_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    write_fashion_mnist(empty_keras_cache(monkeypatch), train=200, test=50)
    dataset = open_dataset(DataConfig(dataset="keras:fashion_mnist"))
    assert (dataset.name, dataset.image_shape, dataset.count("test")) == ("fashion_mnist", (28, 28, 1), 50)
    assert (dataset.num_classes, dataset.class_names[0], dataset.class_names[-1]) == (10, "T-shirt/top", "Ankle boot")


@pytest.mark.parametrize(
    ("name", "shape", "first_and_last"),
    [
        ("mnist", (28, 28), ("0", "9")),
        ("cifar10", (32, 32, 3), ("airplane", "truck")),
        ("cifar100", (32, 32, 3), ("apple", "worm")),
    ],
)
def test_every_dataset_has_the_form_that_keras_documents(
    name: str, shape: tuple[int, ...], first_and_last: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = 100 if name == "cifar100" else 10
    labels = np.arange(2 * classes, dtype=np.uint8) % classes
    images = np.random.default_rng(0).integers(0, 256, (2 * classes, *shape), dtype=np.uint8)
    loaded = (images, labels if name == "mnist" else labels[:, None])
    # Keras knows the hashes of these files, so that a small cache would not do.
    monkeypatch.setattr(f"keras.datasets.{name}.load_data", lambda: (loaded, loaded))
    source = open_keras(name, data_dir="")
    assert (source.class_names[0], source.class_names[-1], len(source.class_names)) == (*first_and_last, classes)
    assert source.manifest["split"].value_counts().to_dict() == {"train": 2 * classes, "test": 2 * classes}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "mnist.npz"),
        ("fashion_mnist", "fashion-mnist/train-images-idx3-ubyte.gz"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
    ],
)
def test_without_cache_and_network_the_file_and_its_place_are_told(
    name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = empty_keras_cache(monkeypatch)
    with pytest.raises(
        DataError, match=rf"downloaded once.*URL fetch failure.*copy {file}.* into {cache}/datasets from"
    ):
        open_keras(name, data_dir="")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown Keras dataset 'cifar': did you mean cifar10"):
        open_keras("cifar", data_dir="")


def test_every_image_dataset_of_keras_is_known() -> None:
    of_text_or_numbers = {"boston_housing", "california_housing", "imdb", "reuters"}
    names = {name for name in dir(keras.datasets) if not name.startswith("_")} - of_text_or_numbers
    with pytest.raises(UnknownNameError, match=f"Known Keras datasets: {', '.join(sorted(names))}"):
        open_keras("", data_dir="")
