"""The state that callbacks keep from epoch to epoch: saved in checkpoints, restored at a resume."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from dlexp.config.json_values import json_value
from dlexp.models.keras_internals import get_memory, set_memory


def get_callback_state(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, Any]:
    """Reads the state of all callbacks that have one, as JSON values by the name of the callback.

    Args:
        callbacks: Keras' own are known; any other callback takes part if it has the methods `get_state() -> dict` and
            `set_state(dict)`, where the dict holds JSON values.
    """
    state: dict[str, Any] = {}
    for name, callback in _named(callbacks):
        if hasattr(callback, "get_state"):
            state[name] = callback.get_state()
        elif memory := get_memory(callback):
            state[name] = {attribute: json_value(value) for attribute, value in memory.items()}
    return state


def set_callback_state(callbacks: Sequence[keras.callbacks.Callback], state: Mapping[str, Any]) -> None:
    """Restores what `get_callback_state` read; a callback without saved state keeps its initial one."""
    for name, callback in _named(callbacks):
        if name not in state:
            continue
        if hasattr(callback, "set_state"):
            callback.set_state(state[name])
        else:
            set_memory(callback, state[name])


def _named(callbacks: Sequence[keras.callbacks.Callback]) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    """Pairs of name and callback: the name is that of the class, `Class-2` for the second of a class."""
    seen: Counter[str] = Counter()
    for callback in callbacks:
        name = type(callback).__name__
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), callback
