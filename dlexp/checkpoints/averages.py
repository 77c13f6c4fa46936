"""The moving average of the weights in place of the weights, while a model is validated or saved."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


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
    return bool(_inner_optimizer(model).use_ema)


def _inner_optimizer(model: keras.Model) -> Any:
    """The optimizer itself, also where it is wrapped for mixed precision."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def swap_weights(model: keras.Model) -> None:
    """Exchanges weights and averages; twice is as before. Does nothing where the optimizer keeps no average."""
    if not has_average(model):
        return
    averages = _inner_optimizer(model)._model_variables_moving_average
    # Keras has no public way to the averages; its own SwapEMAWeights callback reads the same attribute.
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        held = variable.numpy()
        variable.assign(average)
        average.assign(held)
