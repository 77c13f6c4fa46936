"""Augmentation that covers a part of the image; CutMix uses its boxes too."""

import math
from typing import Any

import tensorflow as tf

from dlexp.datasets.randomness import mix_keys, uniform, uniform_between
from dlexp.registry import register_augmentation

_PROBABILITY, _AREA, _ASPECT = 0.5, (0.02, 0.4), (0.3, 1 / 0.3)


@register_augmentation("erasing")
def erasing(images: Any, labels: Any, keys: Any) -> tuple[Any, Any]:
    """Fills a random box with noise, in half of the images; keeps the dtype.

    Zhong et al. 2017, https://arxiv.org/abs/1708.04896: 2 to 40 % of the area, aspect from 0.3 to 3.3. A box that is
    larger than the image is cut to the size of the image; the paper draws another box.
    """
    _, height, width, channels = images.shape
    area = uniform_between(keys, 1, *_AREA) * (height * width)
    aspect = tf.exp(uniform_between(keys, 2, math.log(_ASPECT[0]), math.log(_ASPECT[1])))
    box_height = tf.minimum(tf.round(tf.sqrt(area * aspect)), height)
    box_width = tf.minimum(tf.round(tf.sqrt(area / aspect)), width)
    top = tf.floor(uniform(keys, 3) * (height - box_height + 1))
    left = tf.floor(uniform(keys, 4) * (width - box_width + 1))
    box_height = tf.where(uniform(keys, 0) < _PROBABILITY, box_height, 0.0)

    pixel_keys = mix_keys(keys[:, tf.newaxis], tf.range(height * width * channels)[tf.newaxis])
    noise = tf.reshape(tf.floor(uniform(pixel_keys, 5) * 256), (-1, height, width, channels))
    inside = box_masks(top, left, top + box_height, left + box_width, images.shape)
    return tf.where(inside, tf.cast(noise, images.dtype), images), labels


def box_masks(top: Any, left: Any, bottom: Any, right: Any, image_shape: Any) -> Any:
    """Makes masks, `bool` `(batch, height, width, 1)`: true where top <= y < bottom and left <= x < right.

    Args:
        top: `float32` `(batch,)`, in pixels.
        left: like `top`.
        bottom: like `top`.
        right: like `top`.
        image_shape: static `(batch, height, width, channels)`.
    """
    y = tf.range(image_shape[1], dtype=tf.float32)[tf.newaxis]
    x = tf.range(image_shape[2], dtype=tf.float32)[tf.newaxis]
    rows = (y >= top[:, tf.newaxis]) & (y < bottom[:, tf.newaxis])
    columns = (x >= left[:, tf.newaxis]) & (x < right[:, tf.newaxis])
    return (rows[:, :, tf.newaxis] & columns[:, tf.newaxis, :])[..., tf.newaxis]
