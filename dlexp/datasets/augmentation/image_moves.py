"""Flips and crops one image at a time, while the decoded image is still in the CPU cache.

The results equal those of `geometry.flip` and `geometry.crop` bit for bit, but these read a whole batch from main
memory twice more. Random numbers are drawn for the whole batch: a loop over many small tensors would cost more than the
pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from dlexp.datasets.augmentation.geometry import crop_offset, draw_mirrored
from dlexp.datasets.randomness import mix_keys

_LEAST_BYTES = 32 * 1024  # of an image, measured: for smaller images, the loop costs more than main memory does


@dataclass(frozen=True)
class ImageMove:
    """An augmentation that moves whole pixels.

    Attributes:
        draw: maps (`uint32` keys `(batch,)`, image shape) to a tensor `(batch,)` of random numbers, or to several.
        apply: maps (image `(height, width, channels)`, its random numbers) to an image of the same shape and dtype.
    """

    draw: Callable[[Any, tuple[int, int, int]], Any]
    apply: Callable[[Any, Any], Any]


def flip_image(image: Any, mirrored: Any) -> Any:
    """Mirrors an image left to right if the `bool` scalar is true."""
    return tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)


def shift_image(image: Any, offsets: Any) -> Any:
    """Moves an image up and left by two `int32` scalars, down and right for negative ones, mirroring at the edges."""
    for axis, offset in enumerate(offsets):
        image = _shift(image, offset, axis)
    return image


def _draw_offsets(keys: Any, image_shape: tuple[int, int, int]) -> tuple[Any, ...]:
    return tuple(crop_offset(size, keys, draw=axis) for axis, size in enumerate(image_shape[:2]))


IMAGE_MOVES = {
    "flip": ImageMove(lambda keys, _: draw_mirrored(keys), flip_image),
    "crop": ImageMove(_draw_offsets, shift_image),
}


@dataclass(frozen=True)
class ImageMoves:
    """A chain of moves: random numbers are drawn for a whole batch, and applied to one image after the other.

    Attributes:
        moves: in the order in which they are applied.
        keys_of: maps (rows `int64` `(batch,)`, epoch) to `uint32` keys `(batch,)`.
        image_shape: (height, width, channels).
    """

    moves: Sequence[ImageMove]
    keys_of: Callable[[Any, Any], Any]
    image_shape: tuple[int, int, int]

    def draw(self, rows: Any, epoch: Any) -> tuple[Any, ...]:
        """Draws the random numbers of every move for the examples of a batch: tensors `(batch,)`."""
        keys = self.keys_of(rows, epoch)
        return tuple(move.draw(mix_keys(keys, position), self.image_shape) for position, move in enumerate(self.moves))

    def apply(self, image: Any, drawn: tuple[Any, ...]) -> Any:
        """Applies all moves to one image, with the random numbers that were drawn for it."""
        for move, numbers in zip(self.moves, drawn, strict=True):
            image = move.apply(image, numbers)
        return image


def count_moves(names: Sequence[str], image_shape: tuple[int, int, int]) -> int:
    """Counts the first augmentations that are faster if they are applied to one image at a time after decoding it."""
    height, width, channels = image_shape
    if height * width * channels < _LEAST_BYTES:
        return 0
    return next((count for count, name in enumerate(names) if name not in IMAGE_MOVES), len(names))


def _shift(image: Any, offset: Any, axis: int) -> Any:
    size = image.shape[axis]

    def part(first: Any, end: Any) -> Any:
        return image[first:end] if axis == 0 else image[:, first:end]

    def to_the_start() -> Any:
        mirrored = tf.reverse(part(size - 1 - offset, size - 1), [axis])
        return tf.concat([part(offset, size), mirrored], axis)

    def to_the_end() -> Any:
        mirrored = tf.reverse(part(1, 1 - offset), [axis])
        return tf.concat([mirrored, part(0, size + offset)], axis)

    return tf.ensure_shape(tf.cond(offset >= 0, to_the_start, to_the_end), image.shape)
