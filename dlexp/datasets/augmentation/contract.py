"""Checks that an augmentation of a plug-in keeps the contract of `augment`, before a training."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.errors import ConfigError, joined_lines
from dlexp.machine.random_sources import find_stateful_operations, keeping_python_random, state_of
from dlexp.registry import AUGMENTATIONS

_IMAGES = 4


def check_augmentations(names: Sequence[str], image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Calls each augmentation of a plug-in on a few random images, as an input pipeline calls it.

    Args:
        names: registered names; built-in ones are not checked.
        image_shape: (height, width, channels).
        num_classes: width of the labels.

    Raises:
        ConfigError: one fails, returns other shapes or types, or draws from anything but its keys: a pipeline traces it
            once, so numbers of Python and NumPy would be the same in every batch, and those of TensorFlow would differ
            after a resume.
    """
    with keeping_python_random():
        for name in dict.fromkeys(names):
            if not AUGMENTATIONS.is_builtin(name):
                _check(name, image_shape, num_classes)


def _check(name: str, image_shape: tuple[int, int, int], num_classes: int) -> None:
    images, labels, _ = batch = _batch(image_shape, num_classes)
    signature = [tf.TensorSpec((None, *values.shape[1:]), values.dtype) for values in batch]
    augment = tf.function(AUGMENTATIONS.get(name), autograph=False)
    before = state_of(random), state_of(np.random)
    try:
        traced = augment.get_concrete_function(*signature)
        results = [traced(*batch) for _ in range(2)]
    except Exception as err:
        raise ConfigError(
            f"augmentation {name} fails on a batch of images {image_shape}: {type(err).__name__}: {joined_lines(err)}"
        ) from err
    after = state_of(random), state_of(np.random)
    for result in results:
        _check_result(name, result, images, labels)
    differ = any(not np.array_equal(one, other, equal_nan=True) for one, other in zip(*results, strict=True))
    if before != after or differ or any(find_stateful_operations(traced.graph, on_python=False)):
        raise ConfigError(
            f"augmentation {name} draws random numbers that do not come from its keys, so that a resumed run would "
            "augment in another way: draw with dlexp.datasets.randomness.uniform(keys, 0)"
        )


def _batch(image_shape: tuple[int, int, int], num_classes: int) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (_IMAGES, *image_shape), dtype=np.uint8)
    labels = np.eye(num_classes, dtype=np.float32)[np.arange(_IMAGES) % num_classes]
    keys = generator.integers(0, 2**32, _IMAGES, dtype=np.uint32)
    return tf.constant(images), tf.constant(labels), tf.constant(keys)


def _check_result(name: str, result: Any, images: Any, labels: Any) -> None:
    is_pair = isinstance(result, (tuple, list)) and len(result) == 2
    if not is_pair or [value.shape for value in result] != [images.shape, labels.shape]:
        found = [tuple(value.shape) for value in tf.nest.flatten(result)]
        raise ConfigError(
            f"augmentation {name} must return images and labels of the shapes it gets, {tuple(images.shape)} and "
            f"{tuple(labels.shape)}, but returns {found}: return (images, labels)"
        )
    if result[0].dtype not in (tf.uint8, tf.float32) or result[1].dtype != tf.float32:
        raise ConfigError(
            f"augmentation {name} returns images of {result[0].dtype.name} and labels of {result[1].dtype.name}: "
            "return uint8 or float32 images in [0, 255], and float32 labels"
        )
