"""What an augmentation of a plug-in is refused for, before a training."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dlexp.datasets.augmentation.contract import check_augmentations
from dlexp.datasets.randomness import uniform
from dlexp.errors import ConfigError
from dlexp.registry import AUGMENTATIONS

SHAPE, CLASSES = (6, 5, 3), 4
Augmentation = Callable[[Any, Any, Any], Any]


def check(augmentation: Augmentation) -> None:
    with AUGMENTATIONS.override("mine", augmentation):
        check_augmentations(["flip", "mine"], SHAPE, CLASSES)


def brighten(images: Any, by: Any) -> Any:
    return tf.clip_by_value(tf.cast(images, tf.float32) + by, 0.0, 255.0)


def invert_some(images: Any, labels: Any, keys: Any) -> Any:
    return tf.where((uniform(keys, 0) < 0.5)[:, None, None, None], 255 - images, images), labels


def in_python(images: Any, labels: Any, keys: Any) -> Any:
    inverted = tf.numpy_function(lambda pixels: 255 - pixels, [images], tf.uint8)
    return tf.ensure_shape(inverted, images.shape), labels


@pytest.mark.parametrize("augmentation", [invert_some, in_python])
def test_augmentation_that_draws_from_its_keys_alone_is_accepted(augmentation: Augmentation) -> None:
    check(augmentation)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: 9 * random.random(),
        lambda: 9 * np.random.rand(),
        lambda: tf.random.uniform((), 0, 9),
        lambda: tf.cast(tf.numpy_function(lambda: np.random.default_rng().random(), [], tf.float64), tf.float32),
    ],
    ids=["Python", "NumPy", "TensorFlow", "NumPy in each step"],
)
def test_augmentation_that_draws_elsewhere_is_refused_and_leaves_the_callers_numbers(draw: Callable[[], Any]) -> None:
    states = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]
    with pytest.raises(ConfigError, match="augmentation mine draws random numbers that do not come from its keys"):
        check(lambda images, labels, keys: (brighten(images, draw()), labels))
    assert states == (random.getstate(), np.random.get_state()[1].tobytes())  # type: ignore[index]


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (lambda images, labels, keys: images, "must return images and labels"),
        (lambda images, labels, keys: (images[:, 1:], labels), r"returns \[\(4, 5, 5, 3\), \(4, 4\)\]"),
        (lambda images, labels, keys: (tf.cast(images, tf.float64), labels), "returns images of float64"),
        (lambda images, labels, keys: (images + labels, labels), "fails on a batch of images"),
        (lambda images, labels: (images, labels), "fails on a batch of images"),
    ],
    ids=["no labels", "another size", "another type", "an exception", "no keys"],
)
def test_augmentation_that_breaks_its_contract_is_refused_by_name(augmentation: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"augmentation mine .*{message}"):
        check(augmentation)
