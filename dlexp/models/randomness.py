"""Finds what the calls of a model may draw random numbers from."""

import random
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from dlexp.models.keras_internals import flatten_layers

_KINDS = (random.Random, np.random.Generator, np.random.RandomState)
_ON_PYTHON = ("EagerPyFunc", "PyFunc", "PyFuncStateless")
# Operations with a random state in the kernel; those with Stateless in their names get it as an input.
RANDOM_OPERATIONS = (
    *("Multinomial", "ParameterizedTruncatedNormal", "RandomCrop", "RandomGamma", "RandomPoisson", "RandomPoissonV2"),
    *("RandomShuffle", "RandomStandardNormal", "RandomUniform", "RandomUniformInt", "SampleDistortedBoundingBox"),
    *("SampleDistortedBoundingBoxV2", "TruncatedNormal"),
)


def find_stateful_operations(graph: Any) -> Iterator[tuple[str, str, str]]:
    """Finds operations of a TensorFlow graph that draw from the kernel or call Python.

    Returns:
        For each the name of the operation, of the inner function that it is in ("" for none), and of its kind.
    """
    definition = graph.as_graph_def()
    inner = ((function.signature.name, function.node_def) for function in definition.library.function)
    for function, nodes in (("", definition.node), *inner):
        for node in nodes:
            if node.op in RANDOM_OPERATIONS or node.op in _ON_PYTHON:
                yield node.name, function, node.op


def python_states(model: keras.Model) -> list[str]:
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
