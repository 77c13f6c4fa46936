"""The input pipeline on images in memory, against hand-written tf.data."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp import ExperimentConfig, build_datasets
from dlexp.datasets import ArraySource, Source
from dlexp.registry import register_source
from tests.benchmarks.measuring import Row, images_per_second, interleave

_NUM_IMAGES, _NUM_CLASSES, _BATCH_SIZE = 60_000, 10, 128
_NUM_HELD_OUT = 128
_EPOCHS = 3
_REPEATS = 5


@register_source("noise")
def open_noise(spec: str, *, data_dir: str) -> Source:
    """Opens a source of noise in the shape of MNIST: the values of the pixels do not affect the speed."""
    images, labels = make_noise(_NUM_IMAGES + 2 * _NUM_HELD_OUT)
    splits = ["train"] * _NUM_IMAGES + ["validation"] * _NUM_HELD_OUT + ["test"] * _NUM_HELD_OUT
    return ArraySource("noise", images, labels, [str(label) for label in range(_NUM_CLASSES)], splits=splits)


def make_noise(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `uint8` images `(count, 28, 28, 1)` and `int64` labels `(count,)`."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
    return images, generator.integers(0, _NUM_CLASSES, count)


def measure(folder: str) -> list[Row]:
    """Counts the images that reach Python per second: in batches, shuffled again in every epoch, with one-hot labels.

    Args:
        folder: not used.
    """
    config = ExperimentConfig.of(dataset="noise", split_method="official", batch_size=_BATCH_SIZE, epochs=_EPOCHS)
    ours = build_datasets(config).train_dataset()
    images, labels = (tf.constant(array) for array in make_noise(_NUM_IMAGES))
    peers = {name: build(images, labels) for name, build in _PEERS.items()}
    sides = {name: partial(images_per_second, [peer] * _EPOCHS) for name, peer in peers.items()}
    measured = interleave({_DLEXP: partial(images_per_second, [ours])} | sides, repeats=_REPEATS)
    speeds = {side: max(repeats) for side, repeats in measured.items()}
    speed, fastest = speeds.pop(_DLEXP), max(sides, key=speeds.__getitem__)
    rows = []
    for name, peer_speed in speeds.items():
        aim, met = ("> 1", speed > peer_speed) if name == fastest else ("", None)
        what = f"{_NUM_IMAGES:,} images of 28x28 in memory, images/s"
        rows.append(Row(what, speed, peer_speed, f"tf.data: {name}", aim=aim, met=met, digits=0))
    return rows


def shuffle_examples(images: Any, labels: Any) -> Any:
    """Shuffles single examples in a buffer that holds all of them, as tutorials do."""
    examples = tf.data.Dataset.from_tensor_slices((images, labels)).cache().shuffle(_NUM_IMAGES)
    batches = examples.batch(_BATCH_SIZE).map(lambda *batch: (batch[0], tf.one_hot(batch[1], _NUM_CLASSES)))
    return batches.prefetch(tf.data.AUTOTUNE)


def shuffle_rows(images: Any, labels: Any) -> Any:
    """Shuffles only row numbers, and gathers the pixels of a whole batch at once."""
    rows = tf.data.Dataset.range(_NUM_IMAGES).shuffle(_NUM_IMAGES).batch(_BATCH_SIZE)
    return _gather(rows, images, labels)


def permute_rows(images: Any, labels: Any) -> Any:
    """Shuffles all row numbers in one operation, and cuts them into batches."""

    def rows_of_epoch(_: Any) -> Any:
        order = tf.random.shuffle(tf.range(_NUM_IMAGES))
        starts = tf.data.Dataset.range(0, _NUM_IMAGES, _BATCH_SIZE)
        return starts.map(lambda start: order[start : start + _BATCH_SIZE])

    return _gather(tf.data.Dataset.range(1).flat_map(rows_of_epoch), images, labels)


def _gather(rows: Any, images: Any, labels: Any) -> Any:
    def batch(rows: Any) -> tuple[Any, Any]:
        return tf.gather(images, rows), tf.one_hot(tf.gather(labels, rows), _NUM_CLASSES)

    return rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


_DLEXP = "dlexp"
_PEERS: dict[str, Callable[[Any, Any], Any]] = {
    "shuffle of examples": shuffle_examples,
    "shuffle of rows, gather": shuffle_rows,
    "permutation of rows, gather": permute_rows,
}
