"""The search for near duplicates: seconds per 1,000 images as datasets grow, and thumbnails from files."""

import pathlib
from functools import partial

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, Dataset
from dlexp.datasets.inspection.duplicates import find_duplicates
from dlexp.datasets.inspection.thumbnails import make_thumbnails
from tests.benchmarks.measuring import Row, interleave, seconds_of
from tests.benchmarks.pipeline_folder import open_anew, write_photos

_COUNTS = (5_000, 20_000, 50_000)
_SIDE = 48
_IMAGES_PER_COPY = 100  # one image of this many has a copy
_REPEATS = 3


def measure(folder: str) -> list[Row]:
    """Times the search at each count, then the decoding of files.

    Args:
        folder: an empty folder for the files.
    """
    datasets = {count: make_dataset(count) for count in _COUNTS}
    sides = {str(count): partial(_time_search, dataset) for count, dataset in datasets.items()}
    measured = interleave(sides, repeats=_REPEATS)
    seconds = {count: min(measured[str(count)]) * 1000 / count for count in _COUNTS}
    fewest, most = min(_COUNTS), max(_COUNTS)
    rows = []
    for count in _COUNTS[1:]:
        what = f"near duplicates among {count:,} images, s per 1,000"
        met = seconds[count] <= 1.5 * seconds[fewest]
        rows.append(Row(what, seconds[count], seconds[fewest], f"{fewest:,}", aim="<= 1.5", met=met, digits=3))
    found = find_duplicates(datasets[most]).groups["group"].nunique()
    planted = most // _IMAGES_PER_COPY
    what = f"copies found among {most:,} images"
    rows.append(Row(what, found, planted, "planted", aim="all, no other", met=found == planted, digits=0))
    return [*rows, _time_files(pathlib.Path(folder, "photos"))]


def make_dataset(count: int) -> Dataset:
    """Blends two random squares of photographs, so that no two images are similar; some images get a mirrored copy."""
    generator = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    images = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for image in images:
        image[:] = 0.6 * _cut(photos, generator) + 0.4 * _cut(photos, generator)
    copies = count // _IMAGES_PER_COPY
    images[-copies:] = images[:copies, :, ::-1]
    source = ArraySource("squares", images, np.arange(count) % 2, ["even", "odd"])
    manifest = source.manifest.assign(split="train")
    return Dataset("squares", "0" * 16, source.class_names, manifest, source, (_SIDE, _SIDE, 3))


def _cut(photos: list[Image.Image], generator: np.random.Generator) -> np.ndarray:
    """Cuts a square of random size and position, but not from the empty sky."""
    while True:
        photo = photos[generator.integers(len(photos))]
        side = generator.uniform(_SIDE, 0.7 * min(photo.size))
        left, top = (generator.uniform(0, whole - side) for whole in photo.size)
        cut = np.asarray(photo.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, (left, top, left + side, top + side)))
        if cut.std() > 40:
            return cut


def _time_search(dataset: Dataset) -> float:
    return seconds_of(lambda: find_duplicates(dataset))


def _time_files(root: pathlib.Path) -> Row:
    """Has no aim: opening the folder is the reference."""
    write_photos(root)
    config = DataConfig(dataset=f"folder:{root}", split_method="official", image_size=(224, 224))
    dataset = open_anew(config)
    rows = np.arange(len(dataset.manifest))
    sides = {
        "thumbnails": lambda: seconds_of(lambda: make_thumbnails(dataset, rows)),
        "opening": lambda: seconds_of(lambda: open_anew(config)),
    }
    speeds = {side: len(rows) / min(seconds) for side, seconds in interleave(sides, repeats=_REPEATS).items()}
    what = "thumbnails from JPEG files of 256x256, images/s"
    return Row(what, speeds["thumbnails"], speeds["opening"], "opening the folder", digits=0)
