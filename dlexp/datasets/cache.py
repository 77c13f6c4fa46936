"""Decoded images, kept as one `uint8` array: in memory, or in a file that later runs reuse."""

import hashlib
import math
import pathlib

import filelock
import numpy as np
import PIL
import tensorflow as tf

from dlexp.datasets.damage import naming_unreadable_images
from dlexp.datasets.dataset import Dataset
from dlexp.datasets.images.decoding import RULES_VERSION
from dlexp.datasets.pixels import allocate_pixels, decoded_pixels
from dlexp.errors import StoreError
from dlexp.machine.atomic import TEMPORARY_PREFIX, atomic_file
from dlexp.machine.capacity import check_fits_disk, check_fits_memory

_READ_AT_ONCE = 64


def decode_to_memory(dataset: Dataset, num_workers: int) -> np.ndarray:
    """Decodes every image of a dataset into memory.

    Returns:
        `uint8` `(len(manifest), height, width, channels)`, in the order of the manifest.

    Raises:
        DataError: it does not fit in memory, or an image cannot be read.
    """
    shape = (len(dataset.manifest), *dataset.image_shape)
    check_fits_memory(math.prod(shape), f"cache=memory for the {shape[0]:,} images of {dataset.name}")
    images = allocate_pixels(shape)
    _decode_into(images, dataset, num_workers)
    return images


def decode_to_disk(dataset: Dataset, folder: pathlib.Path, num_workers: int) -> np.ndarray:
    """Decodes every image of a dataset into a file in `folder`, unless it exists; one process decodes, others wait.

    Returns:
        `uint8` `(len(manifest), height, width, channels)`, memory-mapped, in the order of the manifest.

    Raises:
        DataError: it does not fit on the disk, or an image cannot be read.
        StoreError: the folder cannot be written.
    """
    path = folder / f"{dataset.name}-{_content_name(dataset)}.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _write_cache(path, dataset, num_workers)
    except OSError as err:
        raise StoreError(
            f"cache=disk cannot write to {str(folder)!r}: {err}; use another --store or --cache=memory"
        ) from err
    return np.load(path, mmap_mode="c", allow_pickle=False)


def _write_cache(path: pathlib.Path, dataset: Dataset, num_workers: int) -> None:
    # Left by killed processes: this process holds the lock.
    for stale in path.parent.glob(f"{TEMPORARY_PREFIX}*{path.name[-64:]}"):
        stale.unlink()
    shape = (len(dataset.manifest), *dataset.image_shape)
    check_fits_disk(math.prod(shape), f"cache=disk for the {shape[0]:,} images of {dataset.name}", path.parent)
    with atomic_file(path) as temporary:
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        _decode_into(images, dataset, num_workers)
        images.flush()


def _content_name(dataset: Dataset) -> str:
    """Returns hex digits for everything that decoded pixels depend on: images and their order, size, bits, decoder."""
    state = hashlib.blake2b(digest_size=8)
    state.update("".join(dataset.manifest["digest"]).encode())
    state.update(f"{dataset.image_shape} {dataset.bits} {RULES_VERSION} {tf.__version__} {PIL.__version__}".encode())
    return state.hexdigest()


def _decode_into(images: np.ndarray, dataset: Dataset, num_workers: int) -> None:
    count = len(images)

    def rows_of(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        first = step * _READ_AT_ONCE
        return tf.range(first, tf.minimum(first + _READ_AT_ONCE, count)), tf.constant(0, tf.int64)

    steps = tf.data.Dataset.range(-(-count // _READ_AT_ONCE))
    pixels = decoded_pixels(dataset, _READ_AT_ONCE)
    with naming_unreadable_images(dataset):
        for batch, rows in pixels.batches(steps, rows_of, lambda batch, rows, _: (batch, rows), num_workers):
            first = int(rows[0])
            images[first : first + len(batch)] = batch.numpy()
