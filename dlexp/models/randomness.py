"""Finds what the calls of a model may draw random numbers from."""

import random

import keras
import numpy as np

from dlexp.machine.random_sources import state_of
from dlexp.models.keras_internals import flatten_layers

_KINDS = (random.Random, np.random.Generator, np.random.RandomState)


def python_states(model: keras.Model) -> list[str]:
    """The states of all generators of random numbers in Python, as texts to compare."""
    owned = [
        value
        for layer in (model, *flatten_layers(model))
        for value in vars(layer).values()
        if isinstance(value, _KINDS)
    ]
    return [state_of(generator) for generator in (random, np.random, *owned)]
