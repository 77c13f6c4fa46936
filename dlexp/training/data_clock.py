"""How long a training waits for its data, measured inside the input pipeline."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from dlexp.datasets.tracing import without_autograph

_EVERY = 7  # steps; reading a clock costs as much as a small step, and 7 divides few numbers of steps in a call


class DataClock:
    """Estimates the seconds that a training waits for batches, from every seventh of them.

    Where one call of the train function takes several steps, TensorFlow asks for the next batch while a step still
    runs: what is told is then how long the batch took to come.

    Args:
        now: the time in seconds, as a `float64` tensor of shape ().
    """

    def __init__(self, now: Callable[[], Any] = tf.timestamp) -> None:
        self._now = now
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._dataset = self._watched = None

    def watch(self, dataset: Any) -> Any:
        """The same dataset, whose consumer is watched; that of the last call, if it is given again."""
        if dataset is not self._dataset:
            self._dataset, self._watched = dataset, self._watch(dataset)
        return self._watched

    def reset(self) -> None:
        """Forgets the time of a former training."""
        self._seconds.assign(0.0)

    def _watch(self, dataset: Any) -> Any:
        # A zip asks its parts in turn, in the thread of whoever asks it: before the batch, and after it.
        watched = tf.data.Dataset.zip((self._clock(-1.0), dataset, self._clock(1.0)))
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # or a prefetch would be the consumer
        return watched.map(without_autograph(lambda before, batch, after: batch)).with_options(options)

    def seconds(self) -> float:
        """Seconds waited so far."""
        return _EVERY * float(self._seconds.numpy())

    def _clock(self, sign: float) -> Any:
        """Elements that add the time to what is measured, every seventh of them; the others cost nothing."""

        @without_autograph
        def note(_: Any) -> Any:
            with tf.control_dependencies([self._seconds.assign_add(sign * self._now())]):
                return tf.constant(0, tf.int64)

        looks = tf.data.Dataset.counter().map(note)
        passes = tf.data.Dataset.from_tensors(tf.constant(0, tf.int64)).repeat()
        choices = tf.data.Dataset.from_tensor_slices(tf.constant([1] + [0] * (_EVERY - 1), tf.int64)).repeat()
        return tf.data.Dataset.choose_from_datasets([passes, looks], choices)
