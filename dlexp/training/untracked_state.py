"""Finds state that a training step changes or draws from, and that is in no checkpoint."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from dlexp.machine.random_sources import RANDOM_OPERATIONS, find_stateful_operations
from dlexp.models.keras_internals import OWN_PREFIX, flatten_layers, metric_variables, watch_train_step

_NUMBER = re.compile(r"_\d+$")  # added to a scope that exists


class UntrackedState:
    """Looks into the traced training step of a model, once for all trainings with it.

    Args:
        model: compiled; its train function is not made yet.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._graph: Any = None
        self._is_eager = False
        self._found: list[str] | None = None
        watch_train_step(model, self._remember_graph)

    def find(self) -> Sequence[str]:
        """Describes the state that a resume cannot restore, with the name of the layer; call it after the first step.

        Returns:
            Clauses such as "layer drop_path draws from TensorFlow (RandomUniform)"; empty if a resume is exact.
        """
        if self._found is None:
            found = [] if self._graph is None else [*self._variables(), *self._operations()]
            if self._is_eager:
                found = [f"{_describe(self._model)} runs eagerly, so that nobody can look into its step"]
            self._found, self._graph = list(dict.fromkeys(found)), None
        return self._found

    @contextlib.contextmanager
    def _remember_graph(self) -> Iterator[None]:
        self._is_eager = tf.executing_eagerly()
        self._graph = None if self._is_eager else tf.compat.v1.get_default_graph()
        yield

    def _variables(self) -> Iterator[str]:
        model = self._model
        saved = [*model.variables, *model.optimizer.variables, *metric_variables(model)]
        known = {id(variable.value) for variable in saved}
        for variable in self._graph.variables:
            if id(variable) not in known and not variable.name.startswith(OWN_PREFIX):
                yield f"{self._owner_of(variable)} keeps the variable {variable.name.removesuffix(':0')}"

    def _owner_of(self, variable: Any) -> str:
        for layer in (self._model, *flatten_layers(self._model)):
            if any(item is variable for item in _leaves(list(vars(layer).values()))):
                return _describe(layer)
        return self._owner_by_name(variable.name, "")

    def _operations(self) -> Iterator[str]:
        for name, function, kind in find_stateful_operations(self._graph):
            verb = "draws from TensorFlow" if kind in RANDOM_OPERATIONS else "calls Python"
            yield f"{self._owner_by_name(name, function)} {verb} ({kind})"

    def _owner_by_name(self, name: str, function: str) -> str:
        """Finds the layer whose name is a scope of an operation, or is in the name of the function around it."""
        layers = {layer.name: layer for layer in flatten_layers(self._model)}
        scopes = [part for scope in name.split("/") for part in (scope, _NUMBER.sub("", scope)) if part in layers]
        scopes += sorted((layer for layer in layers if layer in function), key=len)
        return _describe(layers[scopes[-1]]) if scopes else _describe(self._model)


def _leaves(value: Any) -> Iterator[Any]:
    """The TensorFlow variables in an attribute: its own, in a list, tuple or dict, or of an optimizer or generator."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, keras.optimizers.Optimizer):
        yield from (variable.value for variable in value.variables)
    elif isinstance(value, keras.random.SeedGenerator):
        yield value.state.value
    elif isinstance(value, tf.random.Generator):
        yield value.state
    else:
        yield value


def _describe(layer: keras.layers.Layer) -> str:
    kind = "model" if isinstance(layer, keras.Model) else "layer"
    return f"{kind} {layer.name} ({type(layer).__name__})"
