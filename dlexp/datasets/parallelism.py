"""How much of an input pipeline runs side by side: fixed numbers, as TensorFlow's tuning costs more than it finds."""

from typing import Any

import tensorflow as tf

from dlexp.machine.capacity import count_cores

BATCHES_AHEAD = 2


def count_workers(num_workers: int) -> int:
    """`num_workers`, or for 0 as many as there are cores that this process may use."""
    return num_workers or count_cores()


def without_tuning(dataset: Any) -> Any:
    """The same `tf.data.Dataset`, iterators of which end at once.

    The thread that tunes an iterator sleeps for twice as long each time, up to a minute, and once in a few iterators it
    is not woken at the end: measured with TensorFlow 2.21, an epoch of six seconds then took five seconds more to end.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
