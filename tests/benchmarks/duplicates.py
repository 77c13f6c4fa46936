"""The search for near duplicates: seconds per 1,000 images as there are more of them, and thumbnails from files."""

import pathlib

import numpy as np
from sklearn.datasets import load_sample_images

from dlexp.config import DataConfig
from dlexp.datasets import ArraySource, Dataset, open_dataset
from dlexp.datasets.duplicates import find_duplicates
from dlexp.datasets.thumbnails import make_thumbnails
from tests.benchmarks.measuring import Row, interleave, seconds_of
from tests.benchmarks.pipeline_folder import write_photos

_COUNTS = (5_000, 20_000, 50_000)
_SIDE = 48
_COPIES_EACH = 100  # one image in a hundred has a copy
_REPEATS = 3


def measure(folder: str) -> list[Row]:
    """Times the search at each count, then the decoding of files.

    Args:
        folder: an empty one for the files.
    """
    datasets = {f"{count:,}": make_dataset(count) for count in _COUNTS}
    sides = {name: lambda dataset=dataset: seconds_of(lambda: _search(dataset)) for name, dataset in datasets.items()}
    best = {name: min(seconds) for name, seconds in interleave(sides, repeats=_REPEATS).items()}
    each = {name: 1000 * best[name] / len(datasets[name].manifest) for name in best}
    fewest = f"{_COUNTS[0]:,}"
    rows = []
    for name in list(each)[1:]:
        what = f"near duplicates among {name} images, s per 1,000"
        met = each[name] <= 1.5 * each[fewest]
        rows.append(Row(what, each[name], each[fewest], f"among {fewest}", aim="<= 1.5", met=met, digits=3))
    return [*rows, _time_files(pathlib.Path(folder, "photos"))]


def make_dataset(count: int) -> Dataset:
    """Parts of photographs, laid over each other in pairs so that no two are alike, and a mirrored copy of some."""
    generator = np.random.default_rng(0)
    photos = [photo[::2, ::2] for photo in load_sample_images().images]
    images = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for image in images:
        first, second = (_cut(photos[generator.integers(len(photos))], generator) for _ in range(2))
        image[:] = np.round(0.6 * first + 0.4 * second[::-1].transpose(1, 0, 2))
    copied = count // _COPIES_EACH
    images[-copied:] = images[:copied, :, ::-1]
    source = ArraySource("parts", images, np.arange(count) % 2, ["even", "odd"])
    manifest = source.manifest.assign(split="train")
    return Dataset("parts", "0" * 16, ("even", "odd"), manifest, source, (_SIDE, _SIDE, 3))


def _cut(photo: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    top, left = (generator.integers(side - _SIDE + 1) for side in photo.shape[:2])
    return photo[top : top + _SIDE, left : left + _SIDE]


def _search(dataset: Dataset) -> None:
    """Raises RuntimeError unless the planted copies are what is found."""
    found = find_duplicates(dataset).groups["group"].nunique()
    planted = len(dataset.manifest) // _COPIES_EACH
    if found != planted:
        raise RuntimeError(f"{found} groups of copies were found, {planted} were planted")


def _time_files(root: pathlib.Path) -> Row:
    """No aim: what opening the folder costs is the measure of what is bearable."""
    write_photos(root)
    config = DataConfig(dataset=f"folder:{root}", split_method="official", image_size=(224, 224))
    dataset = open_dataset(config)
    rows = np.arange(len(dataset.manifest))
    sides = {
        "thumbnails": lambda: seconds_of(lambda: make_thumbnails(dataset, rows)),
        "opening": lambda: seconds_of(lambda: open_dataset(config)),
    }
    speeds = {side: len(rows) / min(each) for side, each in interleave(sides, repeats=_REPEATS).items()}
    what = "thumbnails from JPEG files of 256x256, images/s"
    return Row(what, speeds["thumbnails"], speeds["opening"], "opening the folder", digits=0)
