"""Swaps weights for their moving averages while a model is validated or saved."""

import contextlib
from collections.abc import Iterator

import keras

from dlexp.models.keras_internals import inner_optimizer, moving_averages


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within the block the model has the averaged weights, if its optimizer keeps an average; then its own again."""
    swap_weights(model)
    try:
        yield
    finally:
        swap_weights(model)


def has_average(model: keras.Model) -> bool:
    """Whether the optimizer keeps a moving average of the weights."""
    return bool(inner_optimizer(model.optimizer).use_ema)


def swap_weights(model: keras.Model) -> None:
    """Swaps weights and averages; a second call swaps them back. Does nothing if the optimizer keeps no average."""
    if not has_average(model):
        return
    for variable, average in zip(model.trainable_variables, moving_averages(model.optimizer), strict=True):
        held = variable.numpy()
        variable.assign(average)
        average.assign(held)
