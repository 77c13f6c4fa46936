"""RandAugment: two operations for each image, chosen from fourteen.

Cubuk et al. 2020, https://arxiv.org/abs/1909.13719, with N=2 and M=9 of 10. An image's channels are `uint8` values
throughout, so every operation rounds. Signs are random if an operation has two directions. The factors of enhancements
are 1 +- 0.81, as in later implementations; the original only strengthens.
"""

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dlexp.datasets.augmentation.colors import black, blend, grey, mean_grey
from dlexp.datasets.augmentation.geometry import affine_transform, centred_matrices
from dlexp.datasets.randomness import mix_keys, uniform, uniform_integer
from dlexp.registry import register_augmentation

NUM_LAYERS = 2
_LEVEL = 9 / 10
_ROTATE_DEGREES, _SHEAR, _TRANSLATE_SHARE, _ENHANCE = 30 * _LEVEL, 0.3 * _LEVEL, 0.3 * _LEVEL, 0.9 * _LEVEL
_SOLARIZE_FROM = 256 * _LEVEL
_POSTERIZE_BITS = 8 - round(4 * _LEVEL)
_OUTSIDE = 128.0


@register_augmentation("randaugment")
def randaugment(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Applies two random operations of magnitude 9 to each image; returns whole numbers as `float32`."""
    images = tf.round(tf.cast(images, tf.float32))
    for layer in range(NUM_LAYERS):
        images = _apply_operations(images, mix_keys(keys, layer))
    return images, labels


def _apply_operations(images: Any, keys: Any) -> Any:
    """Applies one random operation to each image; an operation is computed only for the images that have drawn it."""
    chosen = uniform_integer(keys, 0, len(OPERATIONS))
    signs = tf.where(uniform(keys, 1) < 0.5, -1.0, 1.0)
    image_groups = tf.dynamic_partition(images, chosen, len(OPERATIONS))
    sign_groups = tf.dynamic_partition(signs, chosen, len(OPERATIONS))
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), chosen, len(OPERATIONS))
    changed = [
        tf.clip_by_value(tf.round(operation(group, sign)), 0.0, 255.0)
        for operation, group, sign in zip(OPERATIONS.values(), image_groups, sign_groups, strict=True)
    ]
    return tf.ensure_shape(tf.dynamic_stitch(places, changed), images.shape)


def _identity(images: Any, signs: Any) -> Any:
    return images


def _autocontrast(images: Any, signs: Any) -> Any:
    """Stretches each channel to 0..255."""
    low = tf.reduce_min(images, axis=(1, 2), keepdims=True)
    span = tf.reduce_max(images, axis=(1, 2), keepdims=True) - low
    return tf.where(span > 0, (images - low) * 255.0 / tf.maximum(span, 1.0), images)


def _equalize(images: Any, signs: Any) -> Any:
    """Makes the histogram of each channel flat, by the lookup table of Pillow's `ImageOps.equalize`."""
    _, height, width, channels = images.shape
    count = tf.shape(images)[0] * channels
    values = tf.reshape(tf.transpose(tf.cast(images, tf.int32), (0, 3, 1, 2)), (-1, height * width))
    cells = tf.range(count)[:, tf.newaxis] * 256 + values
    ones = tf.ones((count * height * width,), tf.int32)
    histogram = tf.reshape(tf.math.unsorted_segment_sum(ones, tf.reshape(cells, (-1,)), count * 256), (-1, 256))
    last = tf.gather(histogram, tf.reduce_max(values, axis=1), batch_dims=1)
    step = (height * width - last)[:, tf.newaxis] // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.where(step > 0, tf.minimum((below + step // 2) // tf.maximum(step, 1), 255), tf.range(256)[tf.newaxis])
    equalized = tf.reshape(tf.gather(table, values, batch_dims=1), (-1, channels, height, width))
    return tf.cast(tf.transpose(equalized, (0, 2, 3, 1)), tf.float32)


def _solarize(images: Any, signs: Any) -> Any:
    return tf.where(images >= _SOLARIZE_FROM, 255.0 - images, images)


def _posterize(images: Any, signs: Any) -> Any:
    """Keeps the highest 4 bits."""
    unit = 2.0 ** (8 - _POSTERIZE_BITS)
    return tf.floor(images / unit) * unit


def _enhance(degenerate: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda images, signs: blend(degenerate(images), images, 1 + signs * _ENHANCE)


def _smoothed(images: Any) -> Any:
    """Returns what sharpness blends with: a 3x3 mean with a centre weight of 5, edges unchanged.

    This is Pillow's `ImageFilter.SMOOTH`. Sums of whole numbers are exact in any order; a convolution may not be.
    """
    height, width = images.shape[1:3]
    if min(height, width) < 3:
        return images
    inner = images[:, 1:-1, 1:-1]
    total = 4 * inner
    for y in range(3):
        for x in range(3):
            total += images[:, y : height - 2 + y, x : width - 2 + x]
    padded = tf.pad(tf.round(total / 13.0) - inner, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return images + padded


def _affine(matrix: Callable[[Any, Any], tuple[Any, Any, Any, Any]]) -> Callable[[Any, Any], Any]:
    def transform(images: Any, signs: Any) -> Any:
        matrices = centred_matrices(*matrix(signs, tf.ones_like(signs)), images.shape)
        return affine_transform(images, matrices, fill_mode="CONSTANT", fill_value=_OUTSIDE)

    return transform


def _translate(x_share: float, y_share: float) -> Callable[[Any, Any], Any]:
    def transform(images: Any, signs: Any) -> Any:
        one, zero = tf.ones_like(signs), tf.zeros_like(signs)
        x, y = (
            tf.round(share * size) * signs for share, size in ((x_share, images.shape[2]), (y_share, images.shape[1]))
        )
        matrices = tf.stack([one, zero, x, zero, one, y, zero, zero], axis=1)
        return affine_transform(images, matrices, fill_mode="CONSTANT", fill_value=_OUTSIDE)

    return transform


_COS, _SIN = math.cos(math.radians(_ROTATE_DEGREES)), math.sin(math.radians(_ROTATE_DEGREES))

OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "identity": _identity,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _affine(lambda sign, one: (_COS * one, -_SIN * sign, _SIN * sign, _COS * one)),
    "solarize": _solarize,
    "color": _enhance(grey),
    "posterize": _posterize,
    "contrast": _enhance(mean_grey),
    "brightness": _enhance(black),
    "sharpness": _enhance(_smoothed),
    "shear_x": _affine(lambda sign, one: (one, _SHEAR * sign, 0 * one, one)),
    "shear_y": _affine(lambda sign, one: (one, 0 * one, _SHEAR * sign, one)),
    "translate_x": _translate(_TRANSLATE_SHARE, 0.0),
    "translate_y": _translate(0.0, _TRANSLATE_SHARE),
}
