"""The gradients of a training as it computes them, noted at the steps that are logged."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlexp.models.keras_internals import watch_gradients


class GradientWatch:
    """Notes the gradients that the optimizer of a model is given, before any clipping.

    They are noted on the device, in the last step of every epoch and every so many steps; only reading them waits.

    Args:
        model: compiled, and its train function not yet made.
        steps_per_epoch: steps of an epoch.
        every_steps: the norm is noted every so many steps too; 0: only at the end of an epoch.
        keep: keep the gradients themselves, which takes as much memory as the weights.
    """

    def __init__(self, model: keras.Model, *, steps_per_epoch: int, every_steps: int = 0, keep: bool = False) -> None:
        self._optimizer = model.optimizer
        self._steps_per_epoch, self._every_steps = steps_per_epoch, every_steps
        self._norm = tf.Variable(math.nan, dtype=tf.float32, trainable=False)
        kept = model.trainable_variables if keep else ()
        self._kept = [tf.Variable(tf.zeros(each.shape, each.dtype), trainable=False) for each in kept]
        self._names = [each.path for each in kept]
        watch_gradients(model.optimizer, self._note)

    def norm(self) -> float:
        """Global norm of the gradients that were noted last; NaN before the first."""
        return float(self._norm.numpy())

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients that were noted last, `float32` and in the weights' shapes, by the path of the weight.

        Empty before the first, and where they are not kept.
        """
        if math.isnan(self.norm()):
            return {}
        return {name: each.numpy().astype(np.float32) for name, each in zip(self._names, self._kept, strict=True)}

    def reset(self) -> None:
        """Forgets the gradients of a former training."""
        self._norm.assign(math.nan)
        for variable in self._kept:
            variable.assign(tf.zeros_like(variable))

    def _note(self, gradients: Sequence[Any]) -> None:
        step = self._optimizer.iterations + 1
        is_noted = step % self._steps_per_epoch == 0
        if self._every_steps:
            is_noted |= step % self._every_steps == 0
        tf.cond(is_noted, lambda: self._assign(gradients), lambda: False)

    def _assign(self, gradients: Sequence[Any]) -> Any:
        there = [tf.cast(tf.convert_to_tensor(each), tf.float32) for each in gradients if each is not None]
        self._norm.assign(tf.linalg.global_norm(there))
        for variable, gradient in zip(self._kept, gradients, strict=False):
            if gradient is not None:
                variable.assign(tf.cast(tf.convert_to_tensor(gradient), variable.dtype))
        return True


def weight_norm(model: keras.Model) -> float:
    """Global norm of the trainable weights."""
    return float(tf.linalg.global_norm([tf.cast(each.value, tf.float32) for each in model.trainable_variables]))
