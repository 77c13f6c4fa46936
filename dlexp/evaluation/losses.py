"""The losses that a training can minimize, for labels that may be soft: one value per example."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from dlexp.config.sections import OptimizationConfig
from dlexp.errors import ConfigError, joined_lines
from dlexp.registry import LOSSES, register_loss


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
    if isinstance(built, keras.losses.Loss):
        return built
    if not callable(built):
        raise ConfigError(
            f"the builder of loss {name} must return a function of labels and logits, but returned "
            f"{type(built).__name__}: see dlexp.register_loss"
        )
    return NamedLoss(built, name)


def loss_of(optimization: OptimizationConfig, num_classes: int) -> keras.losses.Loss:
    """The loss of a config, see `build_loss`."""
    return build_loss(optimization.loss, optimization.loss_args, num_classes)
