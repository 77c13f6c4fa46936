"""The moving average of the weights in place of the weights, while a model is validated or saved."""

import contextlib
from collections.abc import Iterator

import keras

from dlexp.models.keras_internals import inner_optimizer, moving_averages


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Within the block the model has its averaged weights, if its optimizer keeps any; after it, its own again."""
    swap_weights(model)
    try:
        yield
    finally:
        swap_weights(model)


def has_average(model: keras.Model) -> bool:
    """Whether the optimizer keeps a moving average of the weights."""
    return bool(inner_optimizer(model.optimizer).use_ema)


def swap_weights(model: keras.Model) -> None:
    """Exchanges weights and averages; twice is as before. Does nothing where the optimizer keeps no average."""
    if not has_average(model):
        return
    for variable, average in zip(model.trainable_variables, moving_averages(model.optimizer), strict=True):
        held = variable.numpy()
        variable.assign(average)
        average.assign(held)
