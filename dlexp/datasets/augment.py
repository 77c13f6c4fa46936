"""Augmentation of training batches without state: keyed by (seed, epoch, example), whatever batch or worker it is in.

An augmentation is a function of a whole batch, registered by name and traced into the input pipeline:

    @register_augmentation("invert")
    def invert(images, labels, keys):
        chosen = uniform(keys, 0) < 0.5
        return tf.where(chosen[:, None, None, None], 255 - images, images), labels

Args:
    images: `uint8` or `float32` `(batch, height, width, channels)` in [0, 255]; all sizes but the batch are static.
    labels: `float32` `(batch, num_classes)`, each row adding up to 1.
    keys: `uint32` `(batch,)`, the only randomness there is: `uniform(keys, draw)` of `dlexp.datasets.randomness`.

Returns:
    images and labels of the same shapes; images `uint8` or `float32`, still in [0, 255].

What an example becomes may depend on its own pixels, label and key alone, so that it is the same in any batch. MixUp
and CutMix are the exception: their partner is the neighbour in the batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# The built-in augmentations are registered where they are defined.
from dlexp.datasets import colors, erasing, geometry, mixing, randaugment  # noqa: F401
from dlexp.datasets.randomness import derive_seed, mix_keys
from dlexp.registry import AUGMENTATIONS


def build_augmentation(names: Sequence[str], seed: int) -> Callable[[Any, Any, Any, Any], tuple[Any, Any]]:
    """Chains augmentations in the order given.

    Args:
        names: registered names; a name may come twice and then draws anew.
        seed: the experiment's seed.

    Returns:
        `augment(images, labels, rows, epoch) -> (images, labels)`; rows `int64` `(batch,)` tell the examples apart.

    Raises:
        UnknownNameError: a name is not registered.
    """
    augmentations = [AUGMENTATIONS.get(name) for name in names]
    seed_key = tf.constant(derive_seed(seed, "augment"), tf.uint32)

    def augment(images: Any, labels: Any, rows: Any, epoch: Any) -> tuple[Any, Any]:
        example_keys = mix_keys(mix_keys(seed_key, epoch), rows)
        for position, augmentation in enumerate(augmentations):
            images, labels = augmentation(images, labels, mix_keys(example_keys, position))
        return images, labels

    return augment
