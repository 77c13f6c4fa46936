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
    changed = [layer for layer in _moving_layers(model) if layer.momentum > momentum]
    for layer in changed:
        layer.momentum = momentum
    return momentum if changed else None


def spread_momentum(model: keras.Model, *, micro_batches: int) -> float | None:
    """Changes the momentum m of the layers of a model to m^(1 / micro_batches).

    The statistics move once for each micro-batch. After all of them the earlier statistics count m, as after one batch;
    after the last batch of an epoch, which may have fewer of them, a little more.

    Args:
        model: built, and not traced.
        micro_batches: slices of a batch.

    Returns:
        The new momentum, for the record; of layers that differ the greatest; None if there is no layer.
    """
    layers = _moving_layers(model)
    for layer in layers:
        layer.momentum **= 1 / micro_batches
    return max((layer.momentum for layer in layers), default=None)


def _moving_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The layers whose statistics move: all but the frozen ones."""
    layers = [layer for layer in flatten_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    return [layer for layer in layers if layer.trainable]


def choose_momentum(steps_per_epoch: int) -> float:
    """Returns 1 - 1 / steps_per_epoch, at least 0.5: the statistics average over the steps of about one epoch."""
    return max(_LOWEST, 1 - 1 / steps_per_epoch)
