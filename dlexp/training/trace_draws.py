"""Finds random numbers that a model draws from Python while its step is traced: they are the same in every step."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from dlexp.models.keras_internals import watch_train_step
from dlexp.models.probe import trace_call, unchanged, watched_calls
from dlexp.models.randomness import python_states


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
        before = python_states(self._model)
        yield
        self._drew |= python_states(self._model) != before

    def _first_drawing(self) -> str:
        """Traces a call of the model once more, to see which layer draws; the numbers drawn are put back."""
        drawing: list[keras.layers.Layer] = []

        @contextlib.contextmanager
        def compare(layer: keras.layers.Layer) -> Iterator[None]:
            before = python_states(self._model)
            yield
            if python_states(self._model) != before:
                drawing.append(layer)

        with unchanged(self._model), watched_calls(self._model, compare):
            trace_call(self._model, self._input_shape, training=True)
        owner = drawing[0] if drawing else self._model
        return f"{'model' if owner is self._model else 'layer'} {owner.name} ({type(owner).__name__})"
