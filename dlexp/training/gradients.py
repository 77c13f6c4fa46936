"""Records the gradients of a training at the steps that are logged."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlexp.models.keras_internals import OWN_PREFIX, watch_gradients
from dlexp.training.step_counter import StepCounter


class GradientWatch:
    """Records the gradients that the optimizer of a model receives, before any clipping.

    They are recorded on the device, at the last step of every epoch and every `every_steps` steps; only reading them
    waits for the device.

    Args:
        model: compiled, its optimizer built; its train function is not traced yet.
        steps: counts the steps of the model.
        steps_per_epoch: steps of an epoch.
        every_steps: steps between two records within an epoch; 0: only at its end.
        keep: record the gradients too, not only their norm; takes as much memory as the weights.
    """

    def __init__(
        self,
        model: keras.Model,
        steps: StepCounter,
        *,
        steps_per_epoch: int,
        every_steps: int = 0,
        keep: bool = False,
    ) -> None:
        self._steps = steps
        self._steps_per_epoch, self._every_steps = steps_per_epoch, every_steps
        self._norm = tf.Variable(math.nan, dtype=tf.float32, trainable=False, name=f"{OWN_PREFIX}gradient_norm")
        self._weights = model.trainable_variables
        self._kept = [
            tf.Variable(tf.zeros(weight.shape, weight.dtype), trainable=False, name=f"{OWN_PREFIX}gradient")
            for weight in (self._weights if keep else ())
        ]
        watch_gradients(model.optimizer, self._record)

    def norm(self) -> float:
        """Global norm of the gradients recorded last: infinite if they overflowed, NaN before the first record."""
        return float(self._norm.numpy())

    def gradients(self) -> dict[str, np.ndarray]:
        """The gradients recorded last, by the path of the weight: `float32`, each in the shape of its weight.

        Zero for a weight that the step does not update. Empty before the first record, and without `keep`.
        """
        if math.isnan(self.norm()):
            return {}
        kept = zip(self._weights, self._kept, strict=False)  # without `keep` nothing is kept
        return {weight.path: gradient.numpy().astype(np.float32) for weight, gradient in kept}

    def reset(self) -> None:
        """Drops the recorded gradients, for another training."""
        self._norm.assign(math.nan)
        for variable in self._kept:
            variable.assign(tf.zeros_like(variable))

    def _record(self, gradients: Sequence[Any], weights: Sequence[Any] | None) -> None:
        step = self._steps.tensor() + 1
        is_recorded = step % self._steps_per_epoch == 0
        if self._every_steps:
            is_recorded |= step % self._every_steps == 0
        pairs = zip(weights or self._weights, gradients, strict=True)
        present = {id(weight): gradient for weight, gradient in pairs if gradient is not None}
        tf.cond(is_recorded, lambda: self._assign(present), lambda: False)

    def _assign(self, gradients: Mapping[int, Any]) -> Any:
        dense = {key: tf.convert_to_tensor(gradient) for key, gradient in gradients.items()}
        norm = tf.linalg.global_norm([tf.cast(gradient, tf.float32) for gradient in dense.values()])
        self._norm.assign(tf.where(tf.math.is_finite(norm), norm, math.inf))
        for weight, kept in zip(self._weights, self._kept, strict=False):
            if id(weight) in dense:
                kept.assign(tf.cast(dense[id(weight)], kept.dtype))
        return True


def weight_norm(model: keras.Model) -> float:
    """Global norm of the trainable weights."""
    values = [tf.cast(variable.value, tf.float32) for variable in model.trainable_variables]
    return float(tf.linalg.global_norm(values))
