"""Measures, inside the input pipeline, how long a training waits for its data."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dlexp.datasets.tracing import without_autograph

_EVERY = 7  # batches; reading a clock costs as much as a small step, and 7 seldom divides steps_per_execution


class DataClock:
    """Estimates the seconds that a training waits for batches: it times every seventh batch.

    If a call of the train function takes several steps, TensorFlow requests the next batch while a step still runs: the
    estimate is then the time that batches take to arrive.

    Args:
        now: the time in seconds, as a `float64` tensor of shape ().
    """

    def __init__(self, now: Callable[[], Any] = tf.timestamp) -> None:
        self._now = now
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._dataset = self._watched = None

    def watch(self, dataset: Any) -> Any:
        """Wraps a dataset so that waits for its batches are measured; the same dataset again gets the same wrapper."""
        if dataset is not self._dataset:
            self._dataset, self._watched = dataset, self._watch(dataset)
        return self._watched

    def reset(self) -> None:
        """Sets the measured time to 0, for another training."""
        self._seconds.assign(0.0)

    def _watch(self, dataset: Any) -> Any:
        # A zip requests its parts in order, in the thread of its consumer: so a clock is read before and after a batch.
        watched = tf.data.Dataset.zip((self._clock(-1.0), dataset, self._clock(1.0)))
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # otherwise a prefetch would be the consumer
        return watched.map(without_autograph(lambda before, batch, after: batch)).with_options(options)

    def seconds(self) -> float:
        """Seconds waited so far."""
        return _EVERY * float(self._seconds.numpy())

    def _clock(self, sign: float) -> Any:
        """A dataset whose every seventh element adds `sign` times the current time to the total; others do nothing."""

        @without_autograph
        def add_time(_: Any) -> Any:
            with tf.control_dependencies([self._seconds.assign_add(sign * self._now())]):
                return tf.constant(0, tf.int64)

        timed = tf.data.Dataset.counter().map(add_time)
        untimed = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).repeat()
        choices = tf.data.Dataset.from_tensor_slices(tf.constant([1] + [0] * (_EVERY - 1), tf.int64)).repeat()
        return tf.data.Dataset.choose_from_datasets([untimed, timed], choices)
