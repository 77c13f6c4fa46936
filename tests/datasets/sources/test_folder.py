"""Folders of images: the rule of what is a class and an image, and damage that is found before training."""

import os
import pathlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.sources.combined import damage_of
from dlexp.errors import DataError
from tests.support.image_bytes import encode_array
from tests.support.image_folders import write_digits_folder


def open_folder(root: pathlib.Path, **settings: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"folder:{root}", **({"batch_size": 4} | settings)))


def test_a_folder_of_the_digits_has_their_class_counts(tmp_path: pathlib.Path) -> None:
    folder = open_folder(write_digits_folder(tmp_path / "digits", 1797))
    pd.testing.assert_frame_equal(folder.counts(), open_dataset(DataConfig()).counts())
    assert (folder.name, folder.image_shape) == ("digits", (8, 8, 1))


def test_names_that_are_not_utf_8_are_refused_of_folders_without_images_too(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 40)
    (root / "1" / os.fsdecode(b"\xff\xfe")).mkdir()
    with pytest.raises(DataError, match="is not valid UTF-8: rename it"):
        open_folder(root)


def test_the_folder_rule(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 60)
    (root / "0" / "nested" / "deep").mkdir(parents=True)
    image = next((root / "0").glob("*.png"))
    image.rename(root / "0" / "nested" / "deep" / "UPPER.PNG")
    for ignored in ("empty", ".hidden"):
        (root / ignored).mkdir()
    for name in (".hidden/a.png", "0/.b.png", "0/Thumbs.db", "readme.txt", "outside.png"):
        (root / name).write_bytes(b"not an image")
    dataset = open_folder(root)
    assert dataset.class_names == tuple("0123456789")
    assert len(dataset.manifest) == 60
    assert dataset.manifest.set_index("key").loc["0/nested/deep/UPPER.PNG", "label"] == 0


def test_train_and_test_folders_are_official_splits(tmp_path: pathlib.Path) -> None:
    for split, count in (("train", 100), ("val", 40), ("test", 50)):
        write_digits_folder(tmp_path / split, count)
    dataset = open_folder(tmp_path)
    assert dataset.counts().sum().tolist() == [100, 40, 50]


@pytest.mark.parametrize("names", [("train", "dev"), ("Training Set", "Test Set"), ("train", "eval", "holdout")])
def test_splits_with_other_names_are_not_taken_for_classes(tmp_path: pathlib.Path, names: tuple[str, ...]) -> None:
    for name in names:
        write_digits_folder(tmp_path / name, 40)
    with pytest.raises(
        DataError, match=rf"in '{names[0]}' and {', '.join(names[1:])}: name the folders of splits train"
    ):
        open_folder(tmp_path)


@pytest.mark.parametrize("sub_folders", [("",), ("left", "right")])
def test_a_class_may_be_called_train(tmp_path: pathlib.Path, sub_folders: tuple[str, ...]) -> None:
    for number, name in enumerate(("car", "train")):
        for sub_folder in sub_folders:
            write_digits_folder(tmp_path / name / sub_folder / f"deep-{name}", 20 + number)
    assert open_folder(tmp_path).class_names == ("car", "train")


def test_one_colour_file_makes_all_colour(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 40)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(root / "3" / "red.png")
    dataset = open_folder(root)
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.source.read(0).shape == (8, 8, 3)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".gif", ".webp"])
def test_every_format_is_decoded_in_grey_or_colour(tmp_path: pathlib.Path, ending: str) -> None:
    dataset = open_folder(write_digits_folder(tmp_path, 30, ending=ending))
    key = dataset.manifest["key"].iloc[5]
    image = Image.open(tmp_path / key).convert("L" if dataset.image_shape[2] == 1 else "RGB")
    expected = np.asarray(image).reshape(dataset.image_shape).astype(int)
    assert np.abs(dataset.source.read(5).astype(int) - expected).max() <= (3 if ending in (".jpg", ".webp") else 0)


def test_different_sizes_ask_for_an_image_size(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 30)
    Image.new("L", (9, 12)).save(root / "1" / "large.png")
    with pytest.raises(DataError, match=r"2 different sizes, from 8x8 to 12x9.*--image_size"):
        open_folder(root)
    assert open_folder(root, image_size=(8, 8)).image_shape == (8, 8, 1)


def test_a_folder_of_one_class_is_refused(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 1)
    with pytest.raises(DataError, match=r"1 class sub-folders with images \(0\)"):
        open_folder(root)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 30)
    outside = tmp_path / "outside.png"
    Image.new("L", (8, 8)).save(outside)
    (root / "0" / "link.png").symlink_to(outside)
    with pytest.raises(DataError, match="link that leaves"):
        open_folder(root)


def test_a_link_inside_the_folder_is_an_image(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 30)
    (root / "0" / "link.png").symlink_to(next((root / "1").glob("*.png")))
    assert len(open_folder(root).manifest) == 31


def _flip_bit(data: bytes) -> bytes:
    middle = data.index(b"IDAT") + 8
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("ending", "damage", "reason"),
    [
        (".png", lambda data: b"", "zero bytes"),
        (".png", lambda data: b"some text, not pixels", "not an image"),
        (".png", _flip_bit, "IDAT has a bad CRC"),
        (".png", lambda data: data[:-12], "IEND"),
        (".png", lambda data: data[:20], "Truncated"),
        (".jpg", lambda data: data[:-40], "JPEG without its end"),
        (".jpg", lambda data: data[:200], "Truncated"),
        (".bmp", lambda data: data[:-10], "truncated"),
    ],
)
def test_damaged_files_are_named_before_training(tmp_path: pathlib.Path, ending: str, damage: Any, reason: str) -> None:
    root = write_digits_folder(tmp_path, 40, ending=ending, side=32)
    for name in ("0", "1"):
        path = min((root / name).iterdir())
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"2 of 40 images.*the first is '0/0000\{ending}'.*({reason})"):
        open_folder(root)


def test_what_is_in_a_file_decides_and_not_its_ending(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 60)
    pixels = open_folder(root).source.read(0)
    (root / "0" / "0.png").write_bytes(encode_array(pixels[..., 0], "TIFF"))
    np.testing.assert_array_equal(open_folder(root).source.read(0), pixels)


def test_damaged_files_are_left_out_if_asked_for_which_changes_the_id(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 60)
    whole = open_folder(root)
    damaged = sorted((root / "3").iterdir())[:2]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-12])
    rest = open_folder(root, on_bad_image="skip")
    assert len(rest.manifest) == 58
    assert rest.id != whole.id
    assert damage_of(rest.source)["key"].tolist() == [f"3/{path.name}" for path in damaged]
    for path in damaged:
        path.unlink()
    assert open_folder(root).id == rest.id


def test_class_whose_files_are_all_damaged_is_refused_also_where_damage_is_skipped(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 60)
    for path in (root / "3").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"class folder '3' .* has no readable image, only 5 damaged: give it"):
        open_folder(root, on_bad_image="skip")
    assert open_dataset(DataConfig(dataset=f"folder:{root}", on_bad_image="skip"), trainable=False).num_classes == 9


def test_class_of_one_example_is_trained_on(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 60)
    (root / "single").mkdir()
    Image.new("L", (8, 8), 50).save(root / "single" / "only.png")
    assert open_folder(root).counts().loc["single"].to_dict() == {"train": 1, "validation": 0, "test": 0}


def test_pattern_over_the_paths_says_which_examples_stay_together(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 120)
    manifest = open_folder(root, split_method="group", group_pattern=r"(\d\d)\d\.png$").manifest
    assert set(manifest["group"]) == {f"{number:02d}" for number in range(12)}
    assert manifest.groupby("group")["split"].nunique().max() == 1


def test_pattern_that_is_not_in_every_path_is_refused_with_the_first(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 120)
    with pytest.raises(DataError, match=r"have no group by group_pattern=.*, the first is '0/0000\.png'"):
        open_folder(root, split_method="group", group_pattern=r"(00[1-9])\d\.png$")
