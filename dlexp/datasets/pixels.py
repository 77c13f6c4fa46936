"""From rows of the manifest to batches of pixels: gathered from memory, or decoded in parallel."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.datasets.augmentation.image_moves import ImageMoves
from dlexp.datasets.dataset import Dataset
from dlexp.datasets.images.decoding import decode_image, jpeg_scales, resize_array, resize_images
from dlexp.datasets.parallelism import count_workers, without_tuning
from dlexp.datasets.sources.combined import CombinedSource, are_encoded, parts_of, read_encoded
from dlexp.datasets.sources.encoded import DECODING
from dlexp.datasets.sources.source import ArraySource
from dlexp.datasets.tracing import without_autograph

Finish = Callable[[Any, Any, Any], tuple[Any, Any]]
_ALIGNMENT_BYTES = 64  # required of a tensor: DLPack does not check it, and TensorFlow aborts on less


@dataclass(frozen=True)
class HeldPixels:
    """Pixels of all examples, in memory or in a memory-mapped file.

    Attributes:
        images: `uint8` `(len(manifest), height, width, channels)`.
    """

    images: np.ndarray

    @functools.cached_property
    def _tensor(self) -> Any:
        return _as_tensor(self.images)

    def fixed_batches(self, rows: np.ndarray, labels: Any, batch_size: int) -> Any:
        """Makes a dataset of (images, labels) whose batches are made once: its iterators start ten times as fast.

        Args:
            rows: `int64` `(n,)`, rows of the examples in order.
            labels: tensor `(n, ...)`, their labels.
            batch_size: examples in a batch; the last batch may be smaller.
        """
        images, whole = tf.gather(self._tensor, rows), len(rows) // batch_size * batch_size
        parts = []
        if whole:
            batched = [tf.reshape(tensor[:whole], (-1, batch_size, *tensor.shape[1:])) for tensor in (images, labels)]
            parts.append(tf.data.Dataset.from_tensor_slices(tuple(batched)))
        if whole < len(rows):
            parts.append(tf.data.Dataset.from_tensors((images[whole:], labels[whole:])))
        return without_tuning(functools.reduce(lambda first, second: first.concatenate(second), parts))

    def batches(self, steps: Any, rows_of: Callable[[Any], tuple[Any, Any]], finish: Finish, num_workers: int) -> Any:
        """Makes a dataset of `finish(images, rows, epoch)` for each step number in `steps`.

        Args:
            steps: dataset of `int64` scalars.
            rows_of: maps a step to (rows `int64` `(batch,)`, epoch).
            finish: makes an element from images `(batch, height, width, channels)`, rows and epoch.
            num_workers: batches made in parallel; 0 means the number of cores.
        """
        images = self._tensor

        @without_autograph
        def make_batch(step: Any) -> tuple[Any, Any]:
            rows, epoch = rows_of(step)
            return finish(tf.gather(images, rows), rows, epoch)

        return _map_steps(steps, make_batch, count_workers(num_workers))


@dataclass(frozen=True)
class DecodedPixels:
    """Pixels that are read, decoded and resized each time they are needed.

    Attributes:
        read: maps a row, an `int64` scalar, to `uint8` `(height, width, channels)`, in TensorFlow.
        image_shape: (height, width, channels) of the images.
        batch_size: the largest number of rows in a batch.
        moves: augmentations that are applied to each image while it is in the CPU cache.
    """

    read: Callable[[Any], Any]
    image_shape: tuple[int, int, int]
    batch_size: int
    moves: ImageMoves | None = None

    def batches(self, steps: Any, rows_of: Callable[[Any], tuple[Any, Any]], finish: Finish, num_workers: int) -> Any:
        """Like `HeldPixels.batches`, but `num_workers` counts images decoded in parallel; 0: the number of cores."""
        num_batches, num_images = share_workers(count_workers(num_workers), self.batch_size)
        image = tf.TensorSpec(self.image_shape, tf.uint8)

        # A loop over a batch costs less than a dataset of single images, each of which would pass through a queue.
        @without_autograph
        def make_batch(step: Any) -> tuple[Any, Any]:
            rows, epoch = rows_of(step)
            drawn = self.moves.draw(rows, epoch) if self.moves else ()
            images = tf.map_fn(
                self._make_image, (rows, drawn), parallel_iterations=num_images, fn_output_signature=image
            )
            return finish(images, rows, epoch)

        return _map_steps(steps, make_batch, num_batches)

    def _make_image(self, row_and_drawn: tuple[Any, tuple[Any, ...]]) -> Any:
        row, drawn = row_and_drawn
        return self.moves.apply(self.read(row), drawn) if self.moves else self.read(row)


def _map_steps(steps: Any, make_batch: Callable[[Any], Any], num_batches: int) -> Any:
    return without_tuning(steps.map(make_batch, num_parallel_calls=num_batches, deterministic=True))


def share_workers(num_workers: int, batch_size: int) -> tuple[int, int]:
    """Returns how many batches are made in parallel, and how many images of each batch are decoded in parallel.

    The number of batches is small, as batches take memory. It is one more than `num_workers` images fill, so that no
    worker waits for the last images of a batch. If the batches do not divide the workers evenly, the number of images
    is rounded up.

    Example:
        >>> share_workers(8, 128)
        (2, 4)
    """
    num_batches = min(num_workers, 1 + math.ceil(num_workers / batch_size))
    return num_batches, math.ceil(num_workers / num_batches)


def held_arrays(dataset: Dataset) -> HeldPixels | None:
    """Returns the resized pixels of a dataset if all its sources hold them in memory, else None."""
    parts = parts_of(dataset.source)
    arrays = [part.images for part in parts if isinstance(part, ArraySource)]
    if len(arrays) < len(parts):
        return None
    *size, channels = dataset.image_shape
    resized = [_with_channels(resize_array(images, (size[0], size[1])), channels) for images in arrays]
    if isinstance(dataset.source, CombinedSource):
        first = np.cumsum([0, *map(len, resized)])[dataset.source.part]
        return HeldPixels(np.concatenate(resized)[first + dataset.source.part_row])
    return HeldPixels(resized[0])


def decoded_pixels(dataset: Dataset, batch_size: int) -> DecodedPixels:
    """Returns pixels that are read through the source: TensorFlow decodes encoded images, `read` gives all others."""
    encoded = are_encoded(dataset.source)[dataset.manifest["row"]]
    if encoded.all():
        read = _encoded_reader(dataset, encoded)
    elif encoded.any():
        read = _either_reader(dataset, encoded)
    else:
        read = _source_reader(dataset)
    return DecodedPixels(read, dataset.image_shape, batch_size)


def _either_reader(dataset: Dataset, encoded: np.ndarray) -> Callable[[Any], Any]:
    """Decodes encoded images in TensorFlow and reads all others by `read` of the source; chosen for each row."""
    decode, read, is_encoded = _encoded_reader(dataset, encoded), _source_reader(dataset), tf.constant(encoded)
    return lambda row: tf.cond(is_encoded[row], lambda: decode(row), lambda: read(row))


def _bytes_reader(dataset: Dataset, encoded: np.ndarray) -> Callable[[Any], Any]:
    """Returns a function from the row of an encoded image to its bytes; it runs in TensorFlow if all are files."""
    paths = dataset.manifest["path"]
    if (paths[encoded] != "").all():
        path_of_row = tf.constant(paths.tolist())
        return lambda row: tf.io.read_file(path_of_row[row])
    source_rows = dataset.manifest["row"].to_numpy()

    def read_bytes(row: np.ndarray) -> bytes:
        return read_encoded(dataset.source, int(source_rows[row]))

    return lambda row: tf.ensure_shape(tf.numpy_function(read_bytes, [row], tf.string), ())


def _encoded_reader(dataset: Dataset, encoded: np.ndarray) -> Callable[[Any], Any]:
    height, width, channels = dataset.image_shape
    manifest, bytes_of = dataset.manifest, _bytes_reader(dataset, encoded)
    sizes = manifest[["height", "width"]].to_numpy()
    scales = jpeg_scales(sizes, (height, width))
    has_one_size = (sizes == sizes[0]).all() and not scales.any()
    decode = partial(
        decode_image,
        channels=channels,
        size=(int(sizes[0, 0]), int(sizes[0, 1])) if has_one_size else None,
        image_size=(height, width),
    )
    jpeg_scale = _number_of_row(scales)
    orientation, decoder, bits = (_number_of_row(manifest[name].to_numpy()) for name in DECODING)
    return lambda row: decode(
        bytes_of(row),
        jpeg_scale=jpeg_scale(row),
        orientation=orientation(row),
        decoder=decoder(row),
        bits=bits(row),
    )


def _number_of_row(numbers: np.ndarray) -> Callable[[Any], Any]:
    """Returns a function from row to number: an `int32` scalar, or an int if all are equal, which saves a branch."""
    if (numbers == numbers[0]).all():
        return lambda row: int(numbers[0])
    tensor = tf.constant(numbers, tf.int32)
    return lambda row: tensor[row]


def _source_reader(dataset: Dataset) -> Callable[[Any], Any]:
    manifest = dataset.manifest
    source_rows = manifest["row"].to_numpy()
    shapes = manifest[["height", "width", "channels"]].to_numpy()
    height, width, channels = dataset.image_shape

    def read_array(row: np.ndarray) -> np.ndarray:
        pixels = dataset.source.read(int(source_rows[row]))
        check_pixels(pixels, tuple(shapes[row]))
        return pixels

    def read(row: Any) -> Any:
        pixels = tf.numpy_function(read_array, [row], tf.uint8)
        return resize_images(tf.ensure_shape(pixels, (None, None, channels)), (height, width))

    return read


def _with_channels(images: np.ndarray, channels: int) -> np.ndarray:
    return images if images.shape[-1] == channels else np.repeat(images, channels, axis=-1)


def check_pixels(pixels: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the pixels that a source has read are `uint8` of the shape in its manifest."""
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ValueError(f"it was read as {pixels.dtype} {pixels.shape}, but the manifest says uint8 {shape}")


def allocate_pixels(shape: tuple[int, ...]) -> np.ndarray:
    """Allocates a `uint8` array, not initialised, that TensorFlow can use without a copy."""
    buffer = np.empty(math.prod(shape) + _ALIGNMENT_BYTES, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT_BYTES
    return buffer[start : start + math.prod(shape)].reshape(shape)


def _as_tensor(array: np.ndarray) -> Any:
    """Returns a tensor that shares the array's memory if aligned (mapped `.npy`, `allocate_pixels`), else a copy."""
    if array.flags.writeable and array.ctypes.data % _ALIGNMENT_BYTES == 0:
        return tf.experimental.dlpack.from_dlpack(np.asarray(array).__dlpack__())
    with tf.device("CPU"):  # pixels are gathered there, even if there is a GPU
        return tf.constant(array)
