"""Stateless randomness: numbers that depend only on a key, so that any step can be computed without the others."""

import hashlib
from typing import Any

import tensorflow as tf


def derive_seed(seed: int, name: str) -> int:
    """Derives a separate seed for each use, from 0 to 2**31 - 1: `derive_seed(config.seed, "order")`."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


class SeedKey:
    """A random key that is made from a seed, and that can be changed in pipelines that are already traced.

    Args:
        seed: the experiment's seed.
        use: what the key is for.

    Attributes:
        value: `uint32` scalar, a variable.
    """

    def __init__(self, seed: int, use: str) -> None:
        self._use = use
        with tf.device("CPU"):  # where input pipelines run
            self.value = tf.Variable(derive_seed(seed, use), dtype=tf.uint32, trainable=False)

    def reseed(self, seed: int) -> None:
        """Changes it to the key of another seed."""
        self.value.assign(derive_seed(seed, self._use))


def mix_keys(keys: Any, data: Any) -> Any:
    """Mixes `data` into keys; any difference in the keys or in the data gives unrelated new keys.

    Args:
        keys: `uint32` tensor.
        data: integer tensor or number, of a shape that broadcasts against `keys`; only its low 32 bits are used.

    Returns:
        `uint32` tensor of the common shape.
    """
    data = tf.cast(data, tf.uint32)
    return _finalise(_finalise(keys + _uint32(0x9E3779B9)) ^ _finalise(data + _uint32(0x85EBCA6B)))


def uniform(keys: Any, draw: int) -> Any:
    """Draws one number per key, uniform in [0, 1).

    Args:
        keys: `uint32` tensor.
        draw: number of the draw: equal draws of equal keys are equal, all others are independent.

    Returns:
        `float32` tensor of the shape of `keys`, multiples of 2**-24.
    """
    return tf.cast(tf.bitwise.right_shift(mix_keys(keys, draw), _uint32(8)), tf.float32) * 2.0**-24


def uniform_between(keys: Any, draw: int, low: float, high: float) -> Any:
    """Like `uniform`, in [low, high)."""
    return low + (high - low) * uniform(keys, draw)


def uniform_integer(keys: Any, draw: int, count: int) -> Any:
    """Like `uniform`, an `int32` from 0 to count - 1; `count` must be far below 2**24."""
    return tf.cast(uniform(keys, draw) * count, tf.int32)


def shuffle_positions(positions: Any, count: int, key: Any) -> Any:
    """Returns where each position goes in a random permutation of `count`, computed without the other positions.

    `tf.random.experimental.index_shuffle` cuts each of its two seeds to half as many bits as the largest position has:
    to 8 bits if `count` is 65,536 or less. So `(seed, epoch)` would repeat after 256 epochs, and often between seeds.
    Its 4 rounds also leave batches of sorted data visibly uneven. Therefore its kernel is called directly, with three
    words that are hashed from the key and 8 rounds, as its source code recommends.

    Args:
        positions: `int64` `(n,)` from 0 to count - 1.
        count: size of the permutation.
        key: `uint32` scalar.

    Returns:
        `int64` `(n,)`; different positions give different results.
    """
    return tf.raw_ops.RandomIndexShuffle(
        index=positions,
        seed=mix_keys(key, tf.range(3)),
        max_index=tf.constant(count - 1, tf.int64),
        rounds=8,
    )


def _finalise(value: Any) -> Any:
    """Mixes bits by a bijection of `uint32`: "lowbias32" of Wellons, https://github.com/skeeto/hash-prospector."""
    value = (value ^ tf.bitwise.right_shift(value, _uint32(16))) * _uint32(0x7FEB352D)
    value = (value ^ tf.bitwise.right_shift(value, _uint32(15))) * _uint32(0x846CA68B)
    return value ^ tf.bitwise.right_shift(value, _uint32(16))


def _uint32(value: int) -> Any:
    return tf.constant(value, tf.uint32)
