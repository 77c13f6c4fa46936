"""Records the gradients of a training at the steps that are logged."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlexp.models.keras_internals import OWN_PREFIX, watch_gradients


class GradientWatch:
    """Records the gradients that the optimizer of a model receives, before any clipping.

    They are recorded on the device, at the last step of every epoch and every `every_steps` steps; only reading them
    waits for the device.

    Args:
        model: compiled; its train function is not traced yet.
        steps_per_epoch: steps of an epoch.
        every_steps: steps between two records within an epoch; 0: only at its end.
        keep: record the gradients too, not only their norm; takes as much memory as the weights.
    """

    def __init__(self, model: keras.Model, *, steps_per_epoch: int, every_steps: int = 0, keep: bool = False) -> None:
        self._optimizer = model.optimizer
        self._steps_per_epoch, self._every_steps = steps_per_epoch, every_steps
        self._norm = tf.Variable(math.nan, dtype=tf.float32, trainable=False, name=f"{OWN_PREFIX}gradient_norm")
        weights = model.trainable_variables if keep else ()
        self._kept = [
            tf.Variable(tf.zeros(weight.shape, weight.dtype), trainable=False, name=f"{OWN_PREFIX}gradient")
            for weight in weights
        ]
        self._paths = [weight.path for weight in weights]
        watch_gradients(model.optimizer, self._record)

    def norm(self) -> float:
        """Global norm of the gradients recorded last; NaN before the first record."""
        return float(self._norm.numpy())

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients recorded last, by the path of the weight: `float32`, each in the shape of its weight.

        Empty before the first record, and without `keep`.
        """
        if math.isnan(self.norm()):
            return {}
        return {path: value.numpy().astype(np.float32) for path, value in zip(self._paths, self._kept, strict=True)}

    def reset(self) -> None:
        """Drops the recorded gradients, for another training."""
        self._norm.assign(math.nan)
        for variable in self._kept:
            variable.assign(tf.zeros_like(variable))

    def _record(self, gradients: Sequence[Any]) -> None:
        step = self._optimizer.iterations + 1
        is_recorded = step % self._steps_per_epoch == 0
        if self._every_steps:
            is_recorded |= step % self._every_steps == 0
        tf.cond(is_recorded, lambda: self._assign(gradients), lambda: False)

    def _assign(self, gradients: Sequence[Any]) -> Any:
        present = [tf.cast(tf.convert_to_tensor(item), tf.float32) for item in gradients if item is not None]
        self._norm.assign(tf.linalg.global_norm(present))
        for variable, gradient in zip(self._kept, gradients, strict=False):
            if gradient is not None:
                variable.assign(tf.cast(tf.convert_to_tensor(gradient), variable.dtype))
        return True


def weight_norm(model: keras.Model) -> float:
    """Global norm of the trainable weights."""
    values = [tf.cast(variable.value, tf.float32) for variable in model.trainable_variables]
    return float(tf.linalg.global_norm(values))
