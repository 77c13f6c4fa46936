"""The input pipeline on a folder of JPEG files, against `keras.utils.image_dataset_from_directory`.

Both sides use their default pixels: `uint8` for dlexp, `float32` for Keras. Both shuffle again in every epoch and make
batches of 32 with one-hot labels.
"""

import pathlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from dlexp import ExperimentConfig, build_datasets
from dlexp.config.sections import DataConfig
from dlexp.datasets import Dataset, open_dataset
from tests.benchmarks.measuring import Row, images_per_second, interleave, seconds_of

_NUM_IMAGES, _NUM_CLASSES, _SIDE = 5_000, 10, 256
_IMAGE_SIZE, _BATCH_SIZE = (224, 224), 32
_AUGMENT = ("flip", "crop")
_REPEATS = 7
_EPOCHS_FROM_MEMORY = 10  # one takes 50 ms, much of it to start an iterator
_PEER = "`image_dataset_from_directory`"


def measure(folder: str) -> list[Row]:
    """Times the opening of the folder, epochs that decode, and epochs from a cache in memory.

    Args:
        folder: an empty folder for the images.
    """
    root, fitting = pathlib.Path(folder, "photos"), pathlib.Path(folder, "fitting")
    write_photos(root)
    write_photos(fitting, side=_IMAGE_SIZE[0])
    return [
        _compare_opening(root),
        _compare_decoding(root),
        _compare_augmented(root),
        _compare_bare_decoding(root, f"the first epoch, resized from {_SIDE}x{_SIDE}, images/s"),
        _compare_bare_decoding(fitting, f"the first epoch of files of {_IMAGE_SIZE[0]}x{_IMAGE_SIZE[1]}, images/s"),
        _compare_bare_decoding(fitting, "the same with flip and crop, against only the decoder, images/s", _AUGMENT),
        _compare_cached(root),
    ]


def write_photos(root: pathlib.Path, *, side: int = _SIDE) -> None:
    """Cuts squares out of scikit-learn's two sample photographs, the same squares each time.

    Args:
        root: folder that gets `train/` with 5,000 images, and `validation/` and `test/` with one image per class.
        side: side of the squares in pixels.
    """
    photos = load_sample_images().images
    generator = np.random.default_rng(0)
    splits = ["train"] * _NUM_IMAGES + ["validation"] * _NUM_CLASSES + ["test"] * _NUM_CLASSES
    cuts = generator.random((len(splits), 2))

    def write(number: int) -> None:
        photo = photos[number % len(photos)]
        top, left = (int(cut * (most - side)) for cut, most in zip(cuts[number], photo.shape[:2], strict=True))
        path = root / splits[number] / f"class-{number % _NUM_CLASSES}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo[top : top + side, left : left + side]).save(path, quality=90)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(len(splits))))


def open_anew(data: DataConfig) -> Dataset:
    """Opens a dataset as if for the first time: reads all of its files again."""
    return open_dataset(data, reread=True)


def _compare_opening(root: pathlib.Path) -> Row:
    """Has no aim, as the sides do different work: dlexp reads every byte, for the digest and to find damaged files."""
    sides = {
        "dlexp": lambda: seconds_of(lambda: open_anew(_config(root).data)),
        "peer": lambda: seconds_of(lambda: _open_peer(root)),
    }
    seconds = {side: min(repeats) for side, repeats in interleave(sides, repeats=_REPEATS).items()}
    what = f"opening {_NUM_IMAGES:,} JPEG files of {_SIDE}x{_SIDE}, s"
    return Row(what, seconds["dlexp"], seconds["peer"], f"{_PEER}, names only")


def _compare_decoding(root: pathlib.Path) -> Row:
    ours, peer = build_datasets(_config(root)).train_dataset(), _open_peer(root).prefetch(tf.data.AUTOTUNE)
    return _compare_speed(f"their first epoch at {_IMAGE_SIZE[0]}x{_IMAGE_SIZE[1]}, images/s", ours, [peer], _PEER)


def _compare_augmented(root: pathlib.Path) -> Row:
    """Both flip left to right and shift by up to 1/8 of the side; dlexp pads by reflection, the peer with zeros."""
    ours = build_datasets(_config(root, augment=_AUGMENT)).train_dataset()
    side, pad = _IMAGE_SIZE[0], _IMAGE_SIZE[0] // 8
    layers = keras.Sequential(
        [
            keras.layers.RandomFlip("horizontal", seed=0),
            keras.layers.ZeroPadding2D(pad),
            keras.layers.RandomCrop(side, side, seed=0),
        ]
    )
    augmented = _open_peer(root).map(lambda images, labels: (layers(images, training=True), labels), tf.data.AUTOTUNE)
    name = f"{_PEER} + Keras layers"
    return _compare_speed("the same with flip and crop, images/s", ours, [augmented.prefetch(tf.data.AUTOTUNE)], name)


def _compare_bare_decoding(root: pathlib.Path, what: str, augment: Sequence[str] = ()) -> Row:
    """The peer reads files in order without resizing or augmentation: the speed of the decoder only, on all cores."""
    ours = build_datasets(_config(root, augment=augment)).train_dataset()
    paths = sorted(map(str, (root / "train").rglob("*.jpg")))
    decoded = tf.data.Dataset.from_tensor_slices(paths).map(
        lambda path: (tf.io.decode_jpeg(tf.io.read_file(path), 3), 0), tf.data.AUTOTUNE
    )
    peer = decoded.batch(_BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
    return _compare_speed(what, ours, [peer], "bare `tf.io.decode_jpeg`", least=0.85)


def _compare_cached(root: pathlib.Path) -> Row:
    """The peer caches single `uint8` images: a cache of batches would repeat the order of the first epoch."""
    ours = build_datasets(_config(root, cache="memory", epochs=_EPOCHS_FROM_MEMORY)).train_dataset()
    examples = _open_peer(root, batch_size=None).map(lambda image, label: (tf.cast(image, tf.uint8), label))
    shuffled = examples.cache().shuffle(_NUM_IMAGES)
    peer = shuffled.batch(_BATCH_SIZE, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    images_per_second([peer])  # fills the cache, as build_datasets has done for dlexp
    what, peers = "their later epochs from memory, images/s", [peer] * _EPOCHS_FROM_MEMORY
    return _compare_speed(what, ours, peers, f"{_PEER}, cache, shuffle, batch")


def _compare_speed(what: str, ours: Any, peers: list[Any], peer_name: str, *, least: float = 1) -> Row:
    """Compares one dataset of dlexp with as many datasets of the peer as it has epochs; `least` is the aimed ratio."""
    sides = {"dlexp": lambda: images_per_second([ours]), "peer": lambda: images_per_second(peers)}
    speeds = {side: max(repeats) for side, repeats in interleave(sides, repeats=_REPEATS).items()}
    met = speeds["dlexp"] >= least * speeds["peer"]
    return Row(what, speeds["dlexp"], speeds["peer"], peer_name, aim=f">= {least:g}", met=met, digits=0)


def _config(root: pathlib.Path, **values: Any) -> ExperimentConfig:
    fields = {"dataset": f"folder:{root}", "split_method": "official", "image_size": _IMAGE_SIZE, "epochs": 1}
    return ExperimentConfig.of(**fields | values, batch_size=_BATCH_SIZE)


def _open_peer(root: pathlib.Path, *, batch_size: int | None = _BATCH_SIZE) -> Any:
    return keras.utils.image_dataset_from_directory(
        root / "train", label_mode="categorical", image_size=_IMAGE_SIZE, batch_size=batch_size, seed=0, verbose=False
    )
