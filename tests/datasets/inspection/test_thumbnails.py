"""Thumbnails show the whole image, however it is stored and wherever it is read."""

import pathlib

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.datasets.inspection.thumbnails import Thumbnails, make_thumbnails
from tests.datasets.inspection.test_duplicates import MixedSource, as_dataset, cut_photos


def shrink(dataset: Dataset) -> Thumbnails:
    thumbnails, reasons = make_thumbnails(dataset, np.arange(len(dataset.manifest)))
    assert reasons == {}
    return thumbnails


def open_files(root: pathlib.Path, *, ending: str, images: list[Image.Image]) -> Dataset:
    for number, image in enumerate(images):
        path = root / "ab"[number % 2] / f"{number}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    data = DataConfig(dataset=f"folder:{root}", batch_size=1, image_size=(32, 32))
    return open_dataset(data)


def difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second).max())


def test_a_file_and_its_pixels_have_equal_thumbnails(tmp_path: pathlib.Path) -> None:
    dataset = open_files(tmp_path, ending=".png", images=cut_photos(6))
    order = [int(pathlib.Path(key).stem) for key in dataset.manifest["key"]]
    pixels = shrink(as_dataset(MixedSource([np.asarray(cut_photos(6)[number]) for number in order])))
    files = shrink(dataset)
    assert np.array_equal(files.grey, pixels.grey)
    assert np.array_equal(files.color, pixels.color)


def test_a_jpeg_that_is_decoded_at_a_part_of_its_size_looks_the_same(tmp_path: pathlib.Path) -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    large = open_files(tmp_path, ending=".jpg", images=[photo.crop((0, 0, 640 - n, 427)) for n in range(6)])
    whole = shrink(as_dataset(MixedSource([np.asarray(photo)])))
    assert difference(shrink(large).grey[0], whole.grey[0]) <= 8
    assert difference(shrink(large).color[0], whole.color[0]) <= 3


def test_the_thumbnail_of_a_mirrored_image_is_mirrored() -> None:
    photo = np.asarray(cut_photos(1)[0])
    thumbnails = shrink(as_dataset(MixedSource([photo, photo[:, ::-1], photo[::-1]])))
    assert difference(thumbnails.grey[0][:, ::-1], thumbnails.grey[1]) <= 1
    assert difference(thumbnails.grey[0][::-1], thumbnails.grey[2]) <= 1


def test_a_grey_image_has_no_colour_and_the_same_luma() -> None:
    photo = np.asarray(cut_photos(1)[0].convert("L"))
    thumbnails = shrink(as_dataset(MixedSource([photo[..., np.newaxis], np.stack([photo] * 3, axis=-1)])))
    assert (thumbnails.color == 128).all()
    assert difference(thumbnails.grey[0], thumbnails.grey[1]) <= 1


def test_a_file_that_holds_several_examples_is_read_through_the_source(tmp_path: pathlib.Path) -> None:
    photos = [np.asarray(photo) for photo in cut_photos(3)]
    Image.fromarray(np.concatenate(photos)).save(tmp_path / "strip.png")
    dataset = as_dataset(MixedSource(photos))
    expected = shrink(dataset).grey
    dataset.manifest["path"] = str(tmp_path / "strip.png")
    assert np.array_equal(shrink(dataset).grey, expected)


def test_sixteen_bits_are_read_as_a_training_reads_them(tmp_path: pathlib.Path) -> None:
    ramp = np.tile(np.linspace(0, 65000, 64).astype(np.uint16), (64, 1))
    dataset = open_files(tmp_path, ending=".png", images=[Image.fromarray(ramp + np.uint16(n)) for n in range(6)])
    thumbnail = shrink(dataset).grey[0]
    assert thumbnail[0, 0] < 8
    assert thumbnail[0, 16] in range(120, 140)
    assert thumbnail[0, -1] > 247


def test_what_cannot_be_read_is_told_by_its_place() -> None:
    class Broken(MixedSource):
        def read(self, row: int) -> np.ndarray:
            if row == 1:
                raise OSError("gone")
            return super().read(row)

    dataset = as_dataset(Broken([np.asarray(photo) for photo in cut_photos(3)]))
    thumbnails, reasons = make_thumbnails(dataset, np.array([2, 1]))
    assert reasons == {1: "gone"}
    assert thumbnails.grey.any(axis=(1, 2)).tolist() == [True, False]


@pytest.mark.filterwarnings("error")
def test_transparent_images_are_those_of_the_training(tmp_path: pathlib.Path) -> None:
    colors = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    palette = colors.quantize(256)
    for name, alpha in (("0", b"\0" * 256), ("1", b"\xff" * 256)):
        (tmp_path / name).mkdir()
        palette.save(tmp_path / name / "palette.png", transparency=alpha)
        colors.save(tmp_path / name / "colors.png")
    dataset = open_dataset(DataConfig(dataset=f"folder:{tmp_path}"), trainable=False)
    thumbnails = shrink(dataset)
    places = {key: place for place, key in enumerate(dataset.manifest["key"])}
    assert (thumbnails.grey[places["0/palette.png"]] == 255).all()
    assert (thumbnails.grey[places["1/palette.png"]] != 255).any()
