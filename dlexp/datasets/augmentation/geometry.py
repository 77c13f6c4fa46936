"""Augmentations that move pixels: flip, crop, rotation; and the affine transform behind them."""

import math
from typing import Any

import tensorflow as tf

from dlexp.datasets.randomness import uniform, uniform_between, uniform_integer
from dlexp.registry import register_augmentation

MAX_ROTATION_DEGREES = 15.0
_CROP_SHARE = 4 / 32  # He et al. 2016, https://arxiv.org/abs/1512.03385, 4.2: 4 pixels on each side of 32


@register_augmentation("flip")
def flip(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Mirrors half of the images left to right; keeps the dtype. `image_moves.flip_image` does it to one image."""
    in_batch = tf.range(tf.shape(images)[0])
    kept, mirrored = tf.dynamic_partition(in_batch, tf.cast(draw_mirrored(keys), tf.int32), 2)
    parts = [tf.gather(images, kept), tf.reverse(tf.gather(images, mirrored), axis=[2])]
    return tf.ensure_shape(tf.dynamic_stitch([kept, mirrored], parts), images.shape), labels


@register_augmentation("crop")
def crop(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Shifts each image by up to 4 pixels per 32, at least 1, mirroring at the edges; keeps the dtype.

    The same as a random crop of the padded image (He et al. 2016, https://arxiv.org/abs/1512.03385, 4.2), except that
    the paper pads with zeros. `image_moves.shift_image` does it to one image.
    """
    _, height, width, _ = images.shape
    rows = _shifted(height, keys, draw=0)
    columns = _shifted(width, keys, draw=1)
    return _pick_pixels(images, rows, columns), labels


def draw_mirrored(keys: Any) -> Any:
    """Draws which images `flip` mirrors: `bool` `(batch,)`."""
    return uniform(keys, 0) < 0.5


def crop_offset(size: int, keys: Any, *, draw: int) -> Any:
    """Draws by how much `crop` shifts the pixels of an axis of `size` towards its start: `int32` `(batch,)`."""
    most = min(max(round(size * _CROP_SHARE), 1), size - 1)
    return uniform_integer(keys, draw, 2 * most + 1) - most


@register_augmentation("rotation")
def rotation(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Rotates about the centre by up to 15 degrees either way, bilinearly, mirroring at edges; returns `float32`."""
    radians = uniform_between(keys, 0, -1.0, 1.0) * math.radians(MAX_ROTATION_DEGREES)
    matrices = centred_matrices(tf.cos(radians), -tf.sin(radians), tf.sin(radians), tf.cos(radians), images.shape)
    return affine_transform(images, matrices, fill_mode="REFLECT"), labels


def centred_matrices(a: Any, b: Any, c: Any, d: Any, image_shape: Any) -> Any:
    """Makes matrices ((a, b), (c, d)) about the centre of the image, from output to input, for `affine_transform`.

    Args:
        a: `float32` `(batch,)`; x runs to the right, y down.
        b: like `a`.
        c: like `a`.
        d: like `a`.
        image_shape: static `(batch, height, width, channels)`.

    Returns:
        `float32` `(batch, 8)`.
    """
    centre_x, centre_y = (image_shape[2] - 1) / 2, (image_shape[1] - 1) / 2
    zero = tf.zeros_like(a)
    shift_x = centre_x - a * centre_x - b * centre_y
    shift_y = centre_y - c * centre_x - d * centre_y
    return tf.stack([a, b, shift_x, c, d, shift_y, zero, zero], axis=1)


def affine_transform(images: Any, matrices: Any, *, fill_mode: str, fill_value: float = 0.0) -> Any:
    """Moves the pixels of each image, bilinearly.

    Args:
        images: `(batch, height, width, channels)`.
        matrices: `float32` `(batch, 8)`, each a projective transform from output to input coordinates.
        fill_mode: how pixels from outside the image are filled: "REFLECT", "NEAREST", "WRAP" or "CONSTANT".
        fill_value: for "CONSTANT".

    Returns:
        `float32`, of the same shape.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=matrices,
        output_shape=images.shape[1:3],
        fill_value=fill_value,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )
    return tf.ensure_shape(moved, images.shape)


def _shifted(size: int, keys: Any, *, draw: int) -> Any:
    """Shifts positions 0..size-1 by one offset per example, mirrored back into the image: `int32` `(batch, size)`."""
    positions = tf.abs(tf.range(size)[tf.newaxis] + crop_offset(size, keys, draw=draw)[:, tf.newaxis])
    return size - 1 - tf.abs(size - 1 - positions)


def _pick_pixels(images: Any, rows: Any, columns: Any) -> Any:
    """Gathers pixel (rows[b, y], columns[b, x]) of image b to (y, x); four times as fast as a projective transform."""
    _, height, width, channels = images.shape
    batch = tf.shape(images)[0]
    first_pixel = tf.range(batch)[:, tf.newaxis] * (height * width)
    indices = (first_pixel + rows * width)[:, :, tf.newaxis] + columns[:, tf.newaxis, :]
    picked = tf.gather(tf.reshape(images, (-1, channels)), indices)
    return tf.ensure_shape(picked, images.shape)
