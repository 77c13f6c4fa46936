"""The momentum of batch normalisation's moving statistics, chosen by the number of steps of an epoch."""

import keras

from dlexp.config.sections import ModelConfig
from dlexp.models.keras_internals import flatten_layers
from dlexp.registry import APPLICATIONS, MODELS

_LOWEST = 0.5


def set_momentum(model: keras.Model, config: ModelConfig, *, steps_per_epoch: int) -> float | None:
    """Lowers the momentum of the layers of a model to `choose_momentum`, if the config asks for it.

    Validation uses moving statistics, which after t steps still hold momentum^t of their initial values. With Keras'
    momentum of 0.99 and few steps, validation stays at chance while the training accuracy is near 1: docs/data.md has
    a measurement. Frozen layers are left alone: their statistics never move.

    Args:
        model: built, and neither traced nor saved.
        config: name of the model, and `batch_norm_momentum`.
        steps_per_epoch: steps in an epoch.

    Returns:
        The momentum, for the record; None if no layer was changed.
    """
    is_own = MODELS.is_builtin(config.model) and config.model not in APPLICATIONS
    if config.batch_norm_momentum == "keep" or (config.batch_norm_momentum == "auto" and not is_own):
        return None
    momentum = choose_momentum(steps_per_epoch)
    layers = [layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    changed = [layer for layer in layers if layer.trainable and layer.momentum > momentum]
    for layer in changed:
        layer.momentum = momentum
    return momentum if changed else None


def choose_momentum(steps_per_epoch: int) -> float:
    """Returns 1 - 1 / steps_per_epoch, at least 0.5: the statistics average over the steps of about one epoch."""
    return max(_LOWEST, 1 - 1 / steps_per_epoch)
