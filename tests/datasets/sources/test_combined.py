"""Several sources as one dataset."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, Dataset, build_datasets, open_dataset
from dlexp.datasets.sources.combined import CombinedSource
from dlexp.errors import ConfigError, UnknownNameError
from tests.support.image_folders import write_digits_folder


def arrays(
    name: str, count: int, class_names: Sequence[str], *, seed: int = 0, side: int = 4, channels: int = 1
) -> ArraySource:
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    return ArraySource(name, images, np.arange(count) % len(class_names), class_names)


def save_npz(path: pathlib.Path, count: int, class_names: Sequence[str], **values: Any) -> pathlib.Path:
    source = arrays(path.stem, count, class_names, **values)
    np.savez(path, x=source.images, y=source.manifest["label"], class_names=np.array(class_names))
    return path


def test_classes_of_equal_name_are_one_class_and_all_are_sorted() -> None:
    source = CombinedSource([arrays("one", 6, ("dog", "cat")), arrays("two", 4, ("cow", "dog"), seed=1)], [1, 1], {})
    assert source.class_names == ("cat", "cow", "dog")
    names = [source.class_names[label] for label in source.manifest["label"]]
    assert names == ["dog", "cat"] * 3 + ["cow", "dog"] * 2


def test_equal_class_lists_keep_their_order() -> None:
    source = CombinedSource([arrays("one", 4, ("ten", "nine")), arrays("two", 4, ("ten", "nine"))], [1, 1], {})
    assert source.class_names == ("ten", "nine")


def test_numbers_are_sorted_by_their_value() -> None:
    source = CombinedSource([arrays("one", 4, ("10", "9")), arrays("two", 4, ("x", "9"))], [1, 1], {})
    assert source.class_names == ("9", "10", "x")


def test_examples_keep_their_source_and_have_keys_of_their_own() -> None:
    parts = [arrays("same", 4, ("a", "b")), arrays("same", 4, ("a", "b"), seed=1)]
    manifest = CombinedSource(parts, [1, 1], {}).manifest
    assert manifest["source"].tolist() == ["same"] * 4 + ["same-2"] * 4
    assert manifest["key"].is_unique


def test_pixels_are_those_of_the_parts_grey_ones_in_colour_if_one_is() -> None:
    grey, colour = arrays("grey", 3, ("a", "b", "c")), arrays("colour", 3, ("a", "b", "c"), channels=3)
    source = CombinedSource([grey, colour], [1, 1], {})
    assert np.array_equal(source.read(1), np.repeat(grey.images[1], 3, axis=-1))
    assert np.array_equal(source.read(4), colour.images[1])
    assert set(source.manifest["channels"]) == {3}


def test_classes_are_renamed_in_one_source_or_in_all_and_left_out() -> None:
    parts = [arrays("one", 6, ("cat", "dog", "junk")), arrays("two", 4, ("kitty", "dog"), seed=1)]
    class_map = {"two/kitty": "cat", "junk": None, "dog": "hound"}
    source = CombinedSource(parts, [1, 1], class_map)
    assert source.class_names == ("cat", "hound")
    assert len(source.manifest) == 8
    assert np.array_equal(source.read(7), parts[1].images[3])


def test_map_of_a_class_that_no_source_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="class_map names 'cta', which no source has: the classes are cat, dog"):
        CombinedSource([arrays("one", 4, ("cat", "dog"))], [1], {"cta": "cat"})


def test_order_of_the_sources_does_not_change_the_id(tmp_path: pathlib.Path) -> None:
    one = save_npz(tmp_path / "one.npz", 60, ("a", "b"))
    two = save_npz(tmp_path / "two.npz", 60, ("b", "c"), seed=1)
    datasets = [
        open_dataset(DataConfig(dataset=f"npz:{first}+npz:{second}", batch_size=4))
        for first, second in ((one, two), (two, one))
    ]
    assert datasets[0].id == datasets[1].id
    assert [dataset.name for dataset in datasets] == ["one-two", "two-one"]


def test_weight_changes_the_id(tmp_path: pathlib.Path) -> None:
    path = save_npz(tmp_path / "one.npz", 60, ("a", "b"))
    ids = {open_dataset(DataConfig(dataset=f"npz:{path}{weight}", batch_size=4)).id for weight in ("", "*1", "*2")}
    assert len(ids) == 2


def test_unknown_source_in_an_expression_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown source 'folde': did you mean folder"):
        open_dataset(DataConfig(dataset="digits+folde:photos"))


@pytest.fixture
def mixed(tmp_path: pathlib.Path) -> str:
    """Files and arrays, of two sizes, as one dataset."""
    folder = write_digits_folder(tmp_path / "photos", 60, side=16)
    archive = save_npz(tmp_path / "more.npz", 60, tuple("0123456789"), side=8)
    return f"folder:{folder}+npz:{archive}"


def images_of(dataset: Dataset, datasets: Any, split: str) -> np.ndarray:
    return np.concatenate([np.asarray(images) for images, _ in getattr(datasets, split)])


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_files_and_arrays_are_trained_on_together(mixed: str, cache: str, tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(
        dataset=mixed, image_size=(8, 8), batch_size=8, cache=cache, store=str(tmp_path / "store")
    )
    datasets = build_datasets(config)
    dataset = datasets.dataset
    images = images_of(dataset, datasets, "test")
    rows = dataset.manifest[dataset.manifest["split"] == "test"]
    for image, row, source in zip(images, rows["row"], rows["source"], strict=True):
        if source == "more":
            assert np.array_equal(image, dataset.source.read(row))
    assert set(rows["source"]) == {"photos", "more"}
    assert images.shape == (len(rows), 8, 8, 1)


def test_arrays_alone_are_held_in_memory_in_the_order_of_the_manifest(tmp_path: pathlib.Path) -> None:
    one = save_npz(tmp_path / "one.npz", 40, ("a", "b", "c"))
    two = save_npz(tmp_path / "two.npz", 40, ("a", "b"), seed=1)
    class_map = json.dumps({"c": None})
    config = ExperimentConfig.of(dataset=f"npz:{one}+npz:{two}", class_map=class_map, batch_size=8)
    datasets = build_datasets(config)
    rows = datasets.dataset.manifest.query("split == 'validation'")["row"]
    expected = np.stack([datasets.dataset.source.read(row) for row in rows])
    assert np.array_equal(images_of(datasets.dataset, datasets, "validation"), expected)
