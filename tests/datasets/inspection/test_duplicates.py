"""Copies are found, whatever was done to them; what only looks alike is not."""

import functools
import io
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, Dataset, Source, array_digests, build_manifest, open_dataset
from dlexp.datasets.inspection.duplicates import find_duplicates, group_pairs

_SIDE = 96
_Edit = Callable[[Image.Image], Image.Image]


def cut_photos(count: int, *, side: int = _SIDE) -> list[Image.Image]:
    """Squares of scikit-learn's photographs that do not overlap; those of the sky are left out."""
    return _cut_squares(side)[:count]


@functools.cache
def _cut_squares(side: int) -> list[Image.Image]:
    squares = [
        Image.fromarray(photo[top : top + side, left : left + side])
        for photo in load_sample_images().images
        for top in range(0, photo.shape[0] - side + 1, side)
        for left in range(0, photo.shape[1] - side + 1, side)
    ]
    return [square for square in squares if np.asarray(square.convert("L")).std() > 10]


class MixedSource:
    """Images of any sizes in memory, all of class "a"."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.name = "mixed"
        self.class_names: tuple[str, ...] = ("a", "b")
        self.images = images
        digests = [array_digests(image[np.newaxis])[0] for image in images]
        shapes = [image.shape for image in images]
        self.manifest = build_manifest("mixed", labels=[0] * len(images), digests=digests, shapes=shapes)

    def read(self, row: int) -> np.ndarray:
        return self.images[row]


def as_dataset(source: Source) -> Dataset:
    manifest = source.manifest.assign(split="train")
    height, width, channels = manifest[["height", "width", "channels"]].iloc[0]
    return Dataset("mixed", "0" * 16, ("a", "b"), manifest, source, (height, width, channels))


def find_groups(images: list[np.ndarray]) -> list[list[int]]:
    """Positions of the images of each group."""
    return positions_of(as_dataset(MixedSource(images)))


def positions_of(dataset: Dataset) -> list[list[int]]:
    groups = find_duplicates(dataset).groups
    return [positions.tolist() for _, positions in groups.groupby("group")["position"]]


def as_jpeg(quality: int) -> _Edit:
    def encode(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file)

    return encode


def resize(factor: float) -> _Edit:
    def change(image: Image.Image) -> Image.Image:
        return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)

    return change


def mirror(method: Image.Transpose) -> _Edit:
    return lambda image: image.transpose(method)


_EDITS: dict[str, _Edit] = {
    "jpeg 50": as_jpeg(50),
    "jpeg 75": as_jpeg(75),
    "jpeg 95": as_jpeg(95),
    "half": resize(0.5),
    "0.7": resize(0.7),
    "1.5": resize(1.5),
    "left-right": mirror(Image.Transpose.FLIP_LEFT_RIGHT),
    "top-bottom": mirror(Image.Transpose.FLIP_TOP_BOTTOM),
    "upside down": mirror(Image.Transpose.ROTATE_180),
    "half, mirrored, jpeg 75": lambda image: as_jpeg(75)(mirror(Image.Transpose.FLIP_LEFT_RIGHT)(resize(0.5)(image))),
}


@pytest.mark.parametrize("edit", _EDITS)
def test_every_copy_of_a_photograph_is_found_and_nothing_else(edit: str) -> None:
    images = cut_photos(30)
    copies = [np.asarray(_EDITS[edit](image)) for image in images]
    found = find_groups([*map(np.asarray, images), *copies])
    assert found == [[number, number + 30] for number in range(30)]


def test_no_two_digits_are_copies() -> None:
    assert positions_of(open_dataset(DataConfig())) == []


def test_a_recompressed_digit_is_a_copy() -> None:
    images = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    copies = [np.asarray(as_jpeg(95)(Image.fromarray(image[..., 0])))[..., np.newaxis] for image in images[:20]]
    assert find_groups([*images, *copies]) == [[number, number + 1797] for number in range(20)]


def test_the_same_shape_in_another_colour_is_not_a_copy() -> None:
    shape = np.kron(np.random.default_rng(0).integers(0, 2, (6, 6)), np.ones((8, 8))).astype(bool)
    red, green = np.zeros((48, 48, 3), np.uint8), np.zeros((48, 48, 3), np.uint8)
    red[shape], green[shape] = (196, 0, 0), (0, 100, 0)  # of equal luma
    assert find_groups([red, green]) == []


def test_a_small_thing_that_moved_makes_another_photograph() -> None:
    scene = np.asarray(cut_photos(1, side=256)[0])
    first, second = scene.copy(), scene.copy()
    first[40:70, 40:70], second[40:70, 150:180] = 255, 255
    assert find_groups([first, second]) == []


def test_blank_images_are_copies_only_if_they_are_equal() -> None:
    noise = np.random.default_rng(0).integers(98, 103, (3, 40, 40, 1), dtype=np.uint8)
    assert find_groups([*noise, noise[1], np.zeros((40, 40, 1), np.uint8)]) == [[1, 3]]


def test_a_crowd_of_copies_is_one_group() -> None:
    image = np.asarray(cut_photos(1)[0].convert("L"), dtype=int)
    generator = np.random.default_rng(0)
    crowd = [np.clip(image + generator.integers(-3, 4, image.shape), 0, 255).astype(np.uint8) for _ in range(500)]
    others = [np.asarray(photo.convert("L")) for photo in cut_photos(12)[1:]]
    found = find_groups([item[..., np.newaxis] for item in [*others, *crowd]])
    assert found == [list(range(11, 511))]


def test_mirror_images_are_told_from_copies() -> None:
    photo = cut_photos(1)[0]
    flipped = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    images = [np.asarray(image) for image in (photo, flipped, as_jpeg(75)(photo))]
    groups = find_duplicates(as_dataset(MixedSource(images))).groups
    assert groups["group"].tolist() == [0, 0, 0]
    assert groups["upright"].tolist() == [0, 1, 0]


def test_without_pixels_only_equal_digests_are_copies() -> None:
    photos = [np.asarray(photo) for photo in cut_photos(3)]
    dataset = as_dataset(MixedSource([*photos, photos[0], photos[1][:, ::-1]]))
    assert find_duplicates(dataset, near_duplicates=False).groups["position"].tolist() == [0, 3]


def test_an_image_that_was_cut_off_since_is_named(tmp_path: pathlib.Path) -> None:
    for number, photo in enumerate(cut_photos(8)):
        path = tmp_path / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        photo.save(path)
    dataset = open_dataset(DataConfig(dataset=f"folder:{tmp_path}", batch_size=1))
    path = tmp_path / "a" / "2.jpg"
    path.write_bytes(path.read_bytes()[:-900])
    assert find_duplicates(dataset).unreadable["key"].tolist() == ["a/2.jpg"]


@given(st.integers(1, 30), st.data())
def test_groups_are_what_a_walk_along_the_pairs_reaches(count: int, data: st.DataObject) -> None:
    node = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(node, node), max_size=40))
    groups = group_pairs(count, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    reached = [{number} for number in range(count)]
    for first, second in pairs:
        union = reached[first] | reached[second]
        for number in union:
            reached[number] = union
    for number in range(count):
        assert set(np.flatnonzero(groups == groups[number])) == reached[number]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_equal_images_are_one_group_in_the_order_of_their_first(numbers: list[int]) -> None:
    photos = np.stack([np.asarray(photo.resize((16, 16))) for photo in cut_photos(4)])
    source = ArraySource("photos", photos[numbers], [0] * len(numbers), ["a", "b"])
    found = positions_of(as_dataset(source))
    expected = [[place for place, each in enumerate(numbers) if each == number] for number in dict.fromkeys(numbers)]
    assert found == [group for group in expected if len(group) > 1]
