"""16-bit files that use fewer bits: how many are chosen, how they are decoded, and what is said without it."""

import pathlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.images.decoding import decode_bytes
from dlexp.datasets.images.imagefile import inspect_image
from dlexp.datasets.inspection.duplicates import find_duplicates
from dlexp.datasets.inspection.findings import find_problems
from dlexp.datasets.pipeline import Datasets
from dlexp.datasets.sources.deep_values import needed_bits
from tests.support.image_bytes import build_deep_tiff, build_png, encode, encode_array

SIDE = 6


def write_folder(root: pathlib.Path, peak: int, *, ending: str = "png") -> pathlib.Path:
    generator = np.random.default_rng(0)
    for number in range(30):
        values = generator.integers(0, peak + 1, (SIDE, SIDE)).astype(np.uint16)
        values[0, 0] = peak
        path = root / str(number % 2) / f"{number:02d}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return root


def open_folder(root: pathlib.Path, **settings: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"folder:{root}", batch_size=4, **settings))


def values_of(dataset: Dataset, row: int) -> np.ndarray:
    return np.asarray(Image.open(dataset.manifest["path"][row])).astype(int)


@pytest.mark.parametrize(
    ("peak", "bits"), [(1, 8), (255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14), (16_384, 16)]
)
def test_auto_takes_the_fewest_usual_bits_that_hold_all_values(peak: int, bits: int) -> None:
    assert needed_bits([1, peak]) == bits


def test_auto_leaves_files_of_8_bits_alone() -> None:
    assert needed_bits([]) == needed_bits([0, 0]) == 16


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("bits", ["12", "auto"])
def test_values_of_12_bits_fill_the_range(tmp_path: pathlib.Path, ending: str, bits: str) -> None:
    dataset = open_folder(write_folder(tmp_path, 4095, ending=ending), bits=bits)
    assert dataset.bits == 12
    np.testing.assert_array_equal(dataset.source.read(3)[..., 0], values_of(dataset, 3) >> 4)


def test_training_and_read_give_the_same_pixels(tmp_path: pathlib.Path) -> None:
    root = write_folder(tmp_path, 1023)
    Image.new("L", (SIDE, SIDE), 200).save(root / "0" / "of-8-bits.png")
    config = ExperimentConfig.of(dataset=f"folder:{root}", bits="10", batch_size=4)
    dataset = open_dataset(config.data)
    rows = dataset.rows("train")
    batches = [images.numpy() for images, _ in Datasets(config, dataset).split_batches("train")]
    np.testing.assert_array_equal(np.concatenate(batches), np.stack([dataset.source.read(row) for row in rows]))


@given(st.integers(8, 16), st.lists(st.integers(0, 65_535), min_size=4, max_size=4))
def test_upper_8_of_the_used_bits_are_kept_in_every_format(bits: int, numbers: list[int]) -> None:
    values = np.array(numbers, np.uint16).reshape(2, 2)
    expected = np.minimum(values >> bits - 8, 255)
    for data in (
        encode_array(values),
        encode_array(values, "TIFF"),
        encode(Image.fromarray(values.astype(np.int32)), "PPM"),
    ):
        header = inspect_image(data)
        pixels = decode_bytes(data, channels=1, decoder=int(header.decoder), bits=bits)
        np.testing.assert_array_equal(pixels[..., 0], expected)


def test_a_transparent_colour_file_of_16_bits_is_composited_in_8() -> None:
    row = np.array([4095, 2048, 0, 65_535, 4095, 2048, 0, 0], ">u2").tobytes()
    data = build_png(2, 1, 16, 6, [row])
    header = inspect_image(data)
    pixels = decode_bytes(data, channels=3, decoder=int(header.decoder), bits=12)
    np.testing.assert_array_equal(pixels[0], [[255, 128, 0], [255, 255, 255]])


def test_nearly_black_files_are_found_even_if_all_are_of_16_bits(tmp_path: pathlib.Path) -> None:
    dataset = open_folder(write_folder(tmp_path, 4095))
    problems = find_problems(dataset, find_duplicates(dataset))
    found = problems[problems["check"] == "unused_bits"].iloc[0]
    assert (found["severity"], found["count"]) == ("warning", 30)
    assert found["message"] == (
        "the greatest value of the 16-bit files is 4,095, so that no pixel is brighter than 15 of 255 with --bits=16: "
        "use --bits=12"
    )


def test_files_that_use_all_bits_have_no_such_finding(tmp_path: pathlib.Path) -> None:
    dataset = open_folder(write_folder(tmp_path, 40_000))
    assert "unused_bits" not in set(find_problems(dataset, find_duplicates(dataset))["check"])


DARK = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE, 3)).astype(np.uint16)
DARK[0, 0] = 4095
OPAQUE = np.full((SIDE, SIDE, 1), 65_535, np.uint16)
DEEP_COLOURS = {
    "RGB.png": (2, DARK),
    "RGBA.png": (6, np.dstack([DARK, OPAQUE])),
    "LA.png": (4, np.dstack([DARK[..., :1], OPAQUE])),
    "RGB.tif": (0, DARK),
}


@pytest.mark.parametrize("name", DEEP_COLOURS)
def test_nearly_black_colours_of_16_bits_are_found_and_scaled(tmp_path: pathlib.Path, name: str) -> None:
    colour, values = DEEP_COLOURS[name]
    for number in range(20):
        path = tmp_path / str(number % 2) / f"{number}-{name}"
        path.parent.mkdir(exist_ok=True)
        rows = [row.astype(">u2").tobytes() for row in np.roll(values, number, axis=1)]
        path.write_bytes(
            build_png(SIDE, SIDE, 16, colour, rows) if colour else build_deep_tiff(np.roll(values, number, axis=1))
        )
    dataset = open_folder(tmp_path)
    assert set(dataset.manifest["peak"]) == {4095}
    messages = set(find_problems(dataset, find_duplicates(dataset, near_duplicates=False))["message"])
    assert any("no pixel is brighter than 15 of 255 with --bits=16: use --bits=12" in text for text in messages)
    assert any("the lower 8 of its 16 bits when it is decoded" in text for text in messages)
    # Pillow loads only the upper 8 bits of a TIFF, so that 4 of the 12 are left.
    expected = values[..., : dataset.image_shape[-1]] >> 4 & (0xFF if colour else 0xF0)
    np.testing.assert_array_equal(open_folder(tmp_path, bits="auto").source.read(0), expected)
