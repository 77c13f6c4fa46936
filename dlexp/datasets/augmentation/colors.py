"""Augmentation of colours, and the blending behind it."""

from typing import Any

import tensorflow as tf

from dlexp.datasets.randomness import uniform_between
from dlexp.registry import register_augmentation

STRENGTH = (
    0.4  # Howard 2013, https://arxiv.org/abs/1312.5402, as set by https://github.com/facebookarchive/fb.resnet.torch
)


@register_augmentation("color")
def color(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Changes brightness, contrast and, of colour images, saturation, each by a factor from 0.6 to 1.4; `float32`."""
    images = tf.cast(images, tf.float32)
    for draw, degenerate in enumerate((black, mean_grey, grey)):
        if degenerate is grey and images.shape[-1] != 3:
            continue
        factors = uniform_between(keys, draw, 1 - STRENGTH, 1 + STRENGTH)
        images = blend(degenerate(images), images, factors)
    return images, labels


def blend(degenerate: Any, images: Any, factors: Any) -> Any:
    """`degenerate + factor * (images - degenerate)`, kept in [0, 255]; a factor of 1 changes nothing.

    Args:
        degenerate: `float32`, of a shape that broadcasts against the images.
        images: `float32` `(batch, height, width, channels)`.
        factors: `float32` `(batch,)`.
    """
    factors = factors[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return tf.clip_by_value(degenerate + factors * (images - degenerate), 0.0, 255.0)


def black(images: Any) -> Any:
    """Returns black images: what brightness blends with."""
    return tf.zeros_like(images)


def grey(images: Any) -> Any:
    """Returns what saturation blends with: the luma of ITU-R BT.601, `(batch, height, width, 1)`."""
    if images.shape[-1] != 3:
        return images
    return tf.image.rgb_to_grayscale(images)


def mean_grey(images: Any) -> Any:
    """Returns what contrast blends with: the mean luma of each image, `(batch, 1, 1, 1)`.

    Summed in whole numbers: a sum of floats would depend on how TensorFlow divides a batch among threads.
    """
    luma = tf.cast(tf.round(grey(images)), tf.int32)
    total = tf.reduce_sum(luma, axis=(1, 2, 3), keepdims=True)
    return tf.cast(total, tf.float32) / (images.shape[1] * images.shape[2] * luma.shape[3])
