"""Counts the steps of a training, whether or not the optimizer updates the weights at each of them."""

from typing import Any

import keras
import tensorflow as tf

from dlexp.models.keras_internals import OWN_PREFIX, watch_steps


class StepCounter:
    """The number of training steps taken, which points, pictures, schedules and gradients share as their clock.

    `optimizer.iterations` is no clock: mixed_float16 skips updates whose gradients overflow, and gradient accumulation
    makes one update of several steps. The counter is in no checkpoint: a resume sets it to the step of its position.
    """

    def __init__(self) -> None:
        self._count = tf.Variable(0, dtype=tf.int64, trainable=False, name=f"{OWN_PREFIX}steps")

    def watch(self, model: keras.Model) -> None:
        """Counts the steps of a model whose train function is not made yet."""
        watch_steps(model, lambda: self._count.assign_add(1))

    def set(self, step: int) -> None:
        """Sets the number of steps taken before the next one."""
        self._count.assign(step)

    def taken(self) -> int:
        """The number of steps taken; waits for the device."""
        return int(self._count.numpy())

    def tensor(self) -> Any:
        """The number of steps taken before the current one, as an `int64` scalar, inside a traced step too."""
        return self._count.value()
