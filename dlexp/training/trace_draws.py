"""Finds random numbers that a model draws from Python while its step is traced: they are the same in every step."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlexp.models.keras_internals import flatten_layers, watch_train_step
from dlexp.models.probe import trace_call, watched_calls

_KINDS = (random.Random, np.random.Generator, np.random.RandomState)


class TraceDraws:
    """Watches the random numbers of Python and NumPy, of the process and in attributes of layers, during a trace.

    Args:
        model: compiled; its train function is not made yet.
        input_shape: (height, width, channels).
    """

    def __init__(self, model: keras.Model, input_shape: tuple[int, int, int]) -> None:
        self._model, self._input_shape = model, input_shape
        self._drew, self._found = False, ""
        watch_train_step(model, self._watch)

    def find(self) -> str:
        """Names the layer or model that has drawn, as "layer jitter (Jitter)"; empty if none; call it after a step."""
        if self._drew and not self._found:
            self._found = self._first_drawing()
        return self._found

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        if tf.executing_eagerly():  # nothing is traced: each step draws anew
            yield
            return
        before = _states(self._model)
        yield
        self._drew |= _states(self._model) != before

    def _first_drawing(self) -> str:
        """Traces a call of the model once more, to see which layer draws; the numbers drawn are put back."""
        drawing: list[keras.layers.Layer] = []

        @contextlib.contextmanager
        def compare(layer: keras.layers.Layer) -> Iterator[None]:
            before = _states(self._model)
            yield
            if _states(self._model) != before:
                drawing.append(layer)

        python, numpy = random.getstate(), np.random.get_state()
        try:
            with watched_calls(self._model, compare):
                trace_call(self._model, self._input_shape, training=True)
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
        owner = drawing[0] if drawing else self._model
        return f"{'model' if owner is self._model else 'layer'} {owner.name} ({type(owner).__name__})"


def _states(model: keras.Model) -> list[str]:
    """The states of all generators of random numbers in Python, as texts to compare."""
    owned = [
        value
        for layer in (model, *flatten_layers(model))
        for value in vars(layer).values()
        if isinstance(value, _KINDS)
    ]
    return [_state(generator) for generator in (random, np.random, *owned)]


def _state(generator: Any) -> str:
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if hasattr(generator, "getstate"):
        return repr(generator.getstate())
    _, keys, *rest = generator.get_state()
    return f"{keys.tobytes().hex()} {rest}"
