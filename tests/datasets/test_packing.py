"""Datasets in a few large files: the same examples in the same order, with the same ID."""

import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets import build_datasets, open_dataset
from dlexp.datasets.packing import write_pack
from dlexp.datasets.sources.left_out import left_out_of
from dlexp.errors import DataError
from tests.support.image_folders import write_digits_folder


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_digits_folder(tmp_path / "photos", 100, side=16)


def packed(dataset: str, tmp_path: pathlib.Path, **values: Any) -> str:
    """Packs a dataset, and returns the expression that opens it."""
    write_pack(
        open_dataset(DataConfig(dataset=dataset, **values), trainable=False), tmp_path / "pack", shard_bytes=2000
    )
    return f"pack:{tmp_path / 'pack'}"


@pytest.mark.parametrize("dataset", ["digits", "folder", "folder+digits", "folder*2"])
def test_pack_has_the_id_the_order_and_the_pixels_of_what_was_packed(
    folder: pathlib.Path, tmp_path: pathlib.Path, dataset: str
) -> None:
    expression = dataset.replace("folder", f"folder:{folder}")
    values: dict[str, Any] = {"image_size": (8, 8), "batch_size": 16, "epochs": 2, "split_method": "hash"}
    one = build_datasets(ExperimentConfig.of(dataset=expression, **values))
    other = build_datasets(ExperimentConfig.of(dataset=packed(expression, tmp_path), **values))
    assert (one.dataset.id, one.dataset.name) == (other.dataset.id, other.dataset.name)
    for ours, packs in zip(one.train_dataset(), other.train_dataset(), strict=True):
        assert all(np.array_equal(first, second) for first, second in zip(ours, packs, strict=True))


def test_pack_of_a_pack_is_equal(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    first = packed(f"folder:{folder}", tmp_path / "one")
    second = packed(first, tmp_path / "two")
    assert open_dataset(DataConfig(dataset=first)).id == open_dataset(DataConfig(dataset=second)).id


def test_pack_keeps_what_its_source_left_out(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (folder / "1" / "scan.psd").touch()
    (folder / "2" / "cut.png").write_bytes(b"\x89PNG")
    expression = packed(f"folder:{folder}+digits", tmp_path / "one", on_bad_image="skip", image_size=(8, 8))
    for pack in (expression, packed(expression, tmp_path / "two", image_size=(8, 8))):
        dataset = open_dataset(DataConfig(dataset=pack, image_size=(8, 8)))
        assert left_out_of(dataset.source)[["key", "kind"]].to_numpy().tolist() == [
            ["photos/1/scan.psd", "picture"],
            ["photos/2/cut.png", "unreadable"],
        ]


def test_class_that_a_training_refuses_is_refused_in_a_pack(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (folder / "lost").mkdir()
    (folder / "lost" / "scan.psd").touch()
    with pytest.raises(DataError, match=r"class folder 'lost' of pack:.* has no readable image, only 1 \.psd"):
        open_dataset(DataConfig(dataset=packed(f"folder:{folder}", tmp_path)))


def test_shards_are_tfrecord_files_of_the_encoded_images(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    packed(f"folder:{folder}", tmp_path)
    shards = sorted((tmp_path / "pack").glob("*.tfrecord"))
    records = [record.numpy() for record in tf.data.TFRecordDataset([str(path) for path in shards])]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    assert records == [(folder / file).read_bytes() for file in files]
    assert len(shards) > 1


def test_pack_that_was_not_finished_is_refused(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    expression = packed(f"folder:{folder}", tmp_path)
    (tmp_path / "pack" / "pack.json").unlink()
    with pytest.raises(DataError, match="is not a finished pack"):
        open_dataset(DataConfig(dataset=expression))


def test_pack_whose_shard_was_cut_is_refused(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    expression = packed(f"folder:{folder}", tmp_path)
    shard = tmp_path / "pack" / "shard-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DataError, match="is damaged: its shards have"):
        open_dataset(DataConfig(dataset=expression))


@pytest.mark.parametrize("dataset", ["digits", "folder"])
def test_changed_byte_is_found_where_every_byte_is_read(
    folder: pathlib.Path, tmp_path: pathlib.Path, dataset: str
) -> None:
    expression = packed(dataset.replace("folder", f"folder:{folder}"), tmp_path)
    shard = tmp_path / "pack" / "shard-00000.tfrecord"
    contents = shard.read_bytes()
    shard.write_bytes(contents[:40] + bytes([contents[40] ^ 1]) + contents[41:])
    with pytest.raises(DataError, match="is damaged: pack the dataset again"):
        open_dataset(DataConfig(dataset=expression), reread=True)


def test_folder_that_is_not_empty_is_left_alone(folder: pathlib.Path) -> None:
    with pytest.raises(DataError, match="is not empty"):
        write_pack(open_dataset(DataConfig()), folder)
