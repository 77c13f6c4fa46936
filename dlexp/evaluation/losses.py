"""The losses that a training can minimize, for labels that may be soft: one value per example."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from dlexp.config.sections import OptimizationConfig
from dlexp.errors import ConfigError, joined_lines
from dlexp.models.contract import describe_error
from dlexp.registry import LOSSES, register_loss

_EXAMPLES = 5


@register_loss("cross_entropy")
def build_cross_entropy(num_classes: int) -> keras.losses.Loss:
    """The cross-entropy of the softmax: -sum(label * log(probability))."""
    return keras.losses.CategoricalCrossentropy(from_logits=True)


@register_loss("focal")
def build_focal(num_classes: int, *, gamma: float = 2.0) -> Any:
    """The focal loss, -sum(label * (1 - probability)^gamma * log(probability)), for the softmax of several classes.

    Lin et al. 2017, "Focal Loss for Dense Object Detection", https://arxiv.org/abs/1708.02002, without its alpha.
    """
    if gamma < 0:
        raise ConfigError(f"loss_args of focal: gamma={gamma} must be 0 or more")

    def focal(labels: Any, logits: Any) -> Any:
        log_probabilities = ops.log_softmax(logits, axis=-1)
        missing = 1 - ops.exp(log_probabilities)
        # Where nothing is missing, the gradient of a power below 1 would be infinite.
        factor = ops.power(ops.maximum(missing, 1e-7), gamma) if gamma else 1.0
        return -ops.sum(labels * factor * log_probabilities, axis=-1)

    return focal


@register_loss("binary_cross_entropy")
def build_binary_cross_entropy(num_classes: int) -> Any:
    """The mean over the classes of the cross-entropies of their sigmoids: each class is predicted by itself.

    With MixUp and CutMix, as in Wightman et al. 2021, "ResNet strikes back", https://arxiv.org/abs/2110.00476.
    """

    def binary_cross_entropy(labels: Any, logits: Any) -> Any:
        return ops.mean(ops.softplus(logits) - labels * logits, axis=-1)

    return binary_cross_entropy


class NamedLoss(keras.losses.Loss):
    """A function of the registry as a Keras loss.

    Args:
        function: from labels and logits, both `(batch, num_classes)`, to losses `(batch,)`.
        name: its registered name.
    """

    def __init__(self, function: Any, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self._function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses `(batch,)`."""
        return self._function(y_true, y_pred)


def build_loss(name: str, loss_args: Mapping[str, Any], num_classes: int) -> keras.losses.Loss:
    """Builds the loss of a config.

    Args:
        name: see `registry.register_loss`.
        loss_args: arguments of its builder.
        num_classes: number of classes.

    Returns:
        A loss whose `call` takes labels, one-hot or soft, and logits, both `float32` `(batch, num_classes)`, and
        returns losses `(batch,)`.

    Raises:
        UnknownNameError: no such loss.
        ConfigError: the builder refuses its arguments, or returns something else.
    """
    try:
        built = LOSSES.get(name)(num_classes, **loss_args)
    except (TypeError, ValueError) as err:
        if isinstance(err, ConfigError):
            raise
        raise ConfigError(f"loss {name} refuses loss_args={dict(loss_args)}: {joined_lines(err)}") from err
    if not isinstance(built, keras.losses.Loss) and not callable(built):
        raise ConfigError(
            f"the builder of loss {name} must return a function of labels and logits, but returned "
            f"{type(built).__name__}: see dlexp.register_loss"
        )
    loss = built if isinstance(built, keras.losses.Loss) else NamedLoss(built, name)
    if not LOSSES.is_builtin(name):
        _check_loss(loss, name, num_classes)
    return loss


def _check_loss(loss: keras.losses.Loss, name: str, num_classes: int) -> None:
    """Raises ConfigError if a loss of a plug-in fails, has another shape, or cannot be minimized."""
    labels = tf.one_hot(tf.range(_EXAMPLES) % num_classes, num_classes)
    logits = tf.constant(np.random.default_rng(0).normal(size=labels.shape), tf.float32)
    try:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = loss.call(labels, logits)
        gradient = tape.gradient(losses, logits)
    except Exception as err:
        raise ConfigError(f"loss {name} fails on a batch of labels and logits: {describe_error(err, None)}") from err
    if tuple(losses.shape) != (_EXAMPLES,):
        raise ConfigError(
            f"loss {name} must return the loss of each example, of shape (batch,), but for {_EXAMPLES} examples its "
            f"shape is {tuple(losses.shape)}: take the mean over the last axis only"
        )
    if gradient is None:
        raise ConfigError(f"loss {name} has no gradient, so nothing can be learned from it: use no argmax or rounding")


def loss_of(optimization: OptimizationConfig, num_classes: int) -> keras.losses.Loss:
    """The loss of a config, see `build_loss`."""
    return build_loss(optimization.loss, optimization.loss_args, num_classes)
