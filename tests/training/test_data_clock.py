"""How long a training waits for its data."""

import numpy as np
import tensorflow as tf

from dlexp.training.data_clock import DataClock


def test_waiting_for_slow_data_is_measured() -> None:
    seconds = np.zeros(())

    def read(step: np.ndarray) -> np.ndarray:
        seconds[...] += 0.5
        return step

    clock = DataClock(lambda: tf.numpy_function(lambda: seconds, [], tf.float64))
    slow = tf.data.Dataset.range(28).map(lambda step: tf.numpy_function(read, [step], tf.int64))
    assert [int(step) for step in clock.watch(slow)] == list(range(28))
    assert clock.seconds() == 28 * 0.5
