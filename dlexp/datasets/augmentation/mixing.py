"""Augmentations that mix each image and its label with those of its neighbour in the batch: MixUp and CutMix."""

from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.datasets.augmentation.erasing import box_masks
from dlexp.datasets.randomness import uniform
from dlexp.registry import register_augmentation

MIXUP_ALPHA = 0.2  # the paper's range for ImageNet is 0.1 to 0.4
_QUANTILES = 4096


@register_augmentation("mixup")
def mixup(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Averages each image and label with its neighbour's, with a weight drawn from Beta(0.2, 0.2); returns `float32`.

    Zhang et al. 2018, https://arxiv.org/abs/1710.09412; here with one weight per image, not one per batch.
    """
    weights = _beta_variates(uniform(keys, 0), MIXUP_ALPHA)
    images = tf.cast(images, tf.float32)
    by_image, by_label = weights[:, tf.newaxis, tf.newaxis, tf.newaxis], weights[:, tf.newaxis]
    mixed = by_image * images + (1 - by_image) * _neighbours(images)
    return tf.clip_by_value(mixed, 0.0, 255.0), by_label * labels + (1 - by_label) * _neighbours(labels)


@register_augmentation("cutmix")
def cutmix(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Pastes a box of the neighbour into each image and mixes labels by its area; keeps the dtype.

    Yun et al. 2019, https://arxiv.org/abs/1905.04899: the share of the image that is kept is drawn from Beta(1, 1), the
    centre of the box is uniform, and the part of the box outside the image is cut off; here with one box per image.
    """
    _, height, width, _ = images.shape
    side = tf.sqrt(1 - uniform(keys, 0))
    centre_y, centre_x = tf.floor(uniform(keys, 1) * height), tf.floor(uniform(keys, 2) * width)
    half_height, half_width = tf.floor(side * height) / 2, tf.floor(side * width) / 2
    top, bottom = tf.floor(centre_y - half_height), tf.floor(centre_y + half_height)
    left, right = tf.floor(centre_x - half_width), tf.floor(centre_x + half_width)
    inside = box_masks(top, left, bottom, right, images.shape)
    kept = 1 - tf.cast(tf.math.count_nonzero(inside, axis=(1, 2)), tf.float32) / (height * width)
    return tf.where(inside, _neighbours(images), images), kept * labels + (1 - kept) * _neighbours(labels)


def _neighbours(batch: Any) -> Any:
    return tf.roll(batch, shift=1, axis=0)


def _beta_variates(uniforms: Any, alpha: float) -> Any:
    """Turns uniform numbers into Beta(alpha, alpha) variates, by interpolating its quantiles at 4096 steps."""
    from scipy.special import betaincinv

    quantiles = betaincinv(alpha, alpha, np.linspace(0, 1, _QUANTILES + 1)).astype(np.float32)
    position = uniforms * _QUANTILES
    below = tf.floor(position)
    index = tf.cast(below, tf.int32)
    low, high = tf.gather(quantiles, index), tf.gather(quantiles, index + 1)
    return low + (position - below) * (high - low)
