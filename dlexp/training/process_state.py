"""Puts back what a training changes in the process of its caller, such as a notebook."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from dlexp.machine.random_sources import keeping_python_random
from dlexp.models.keras_internals import get_global_seed, set_global_seed
from dlexp.tracking.variables import having_variables

# What TensorFlow returns for the global seed if none is set (`DEFAULT_GRAPH_SEED`).
_NO_TENSORFLOW_SEED = 87654321


@contextlib.contextmanager
def keeping_the_callers_state() -> Iterator[None]:
    """Restores random state, Keras' dtype policy and the environment variables of trackers after the block.

    The random state is that of Python, NumPy, TensorFlow and Keras. TensorFlow gets its global seed back; its
    operations draw from that seed as if it were newly set. TensorFlow cannot undo the number of threads and
    `deterministic`, so they last until the process ends.

    Restoring the seed of TensorFlow drops its optimized functions: a process that trains many models should restore it
    once, not after each.
    """
    policy = keras.config.dtype_policy()
    seed_of_tensorflow, seed_of_keras = _tensorflow_seed(), get_global_seed()
    try:
        with having_variables(), keeping_python_random():
            yield
    finally:
        if keras.config.dtype_policy() != policy:
            keras.config.set_dtype_policy(policy)
        set_global_seed(seed_of_keras)
        if _tensorflow_seed() != seed_of_tensorflow:
            tf.random.set_seed(seed_of_tensorflow)


def _tensorflow_seed() -> int | None:
    seed, _ = tf.compat.v1.get_seed(0)  # with a seed of the operation, this draws nothing
    return None if seed == _NO_TENSORFLOW_SEED else int(seed)
