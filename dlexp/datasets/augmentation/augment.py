"""Stateless augmentation of training batches: keyed by (seed, epoch, example), so batches and workers do not matter.

An augmentation is a function of a whole batch, registered by name and traced into the input pipeline:

    @register_augmentation("invert")
    def invert(images, labels, keys):
        chosen = uniform(keys, 0) < 0.5
        return tf.where(chosen[:, None, None, None], 255 - images, images), labels

Args:
    images: `uint8` or `float32` `(batch, height, width, channels)` in [0, 255]; all sizes but the batch are static.
    labels: `float32` `(batch, num_classes)`, each row adding up to 1.
    keys: `uint32` `(batch,)`, the only source of randomness: `uniform(keys, draw)` of `dlexp.datasets.randomness`.

Returns:
    images and labels of the same shapes; images `uint8` or `float32`, still in [0, 255].

The result for an example may depend only on its own pixels, label and key, so that it is the same in any batch. MixUp
and CutMix are the exceptions: they mix an example with its neighbour in the batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

from dlexp.datasets.augmentation.image_moves import IMAGE_MOVES, ImageMoves
from dlexp.datasets.randomness import SeedKey, mix_keys
from dlexp.registry import AUGMENTATIONS


def build_augmentation(names: Sequence[str], key: SeedKey, *, first: int = 0) -> Callable[..., tuple[Any, Any]]:
    """Chains augmentations in the order given.

    Args:
        names: registered names; a name that is given twice draws new random numbers the second time.
        key: made from the experiment's seed.
        first: position of the first augmentation to apply; `build_image_moves` applies those before it.

    Returns:
        `augment(images, labels, rows, epoch) -> (images, labels)`; rows, `int64` `(batch,)`, identify the examples.

    Raises:
        UnknownNameError: a name is not registered.
    """
    augmentations = [AUGMENTATIONS.get(name) for name in names]
    keys_of = _example_keys(key)

    def augment(images: Any, labels: Any, rows: Any, epoch: Any) -> tuple[Any, Any]:
        keys = keys_of(rows, epoch)
        for position, augmentation in enumerate(augmentations[first:], first):
            images, labels = augmentation(images, labels, mix_keys(keys, position))
        return images, labels

    return augment


def build_image_moves(names: Sequence[str], key: SeedKey, image_shape: tuple[int, int, int]) -> ImageMoves:
    """Chains augmentations of single images; the results equal those of `build_augmentation` bit for bit.

    Args:
        names: the first names of a chain, as many as `count_moves` returns.
        key: made from the experiment's seed.
        image_shape: (height, width, channels).
    """
    return ImageMoves([IMAGE_MOVES[name] for name in names], _example_keys(key), image_shape)


def _example_keys(key: SeedKey) -> Callable[[Any, Any], Any]:
    """Returns a function from (rows, epoch) to `uint32` keys `(batch,)`."""
    return lambda rows, epoch: mix_keys(mix_keys(key.value, epoch), rows)
