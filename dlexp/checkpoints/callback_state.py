"""What callbacks remember from epoch to epoch: read for a checkpoint, and given back at a resume."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from dlexp.models.keras_internals import get_memory, set_memory


def get_callback_state(callbacks: Sequence[keras.callbacks.Callback]) -> dict[str, Any]:
    """What the callbacks remember, as JSON has it, by a name for each.

    Args:
        callbacks: a callback of one's own takes part with `get_state() -> dict` and `set_state(dict)`; the dict holds
            what JSON can.
    """
    state: dict[str, Any] = {}
    for name, callback in _named(callbacks):
        if hasattr(callback, "get_state"):
            state[name] = callback.get_state()
        elif memory := get_memory(callback):
            state[name] = {attribute: _plain(value) for attribute, value in memory.items()}
    return state


def set_callback_state(callbacks: Sequence[keras.callbacks.Callback], state: Mapping[str, Any]) -> None:
    """Gives the callbacks back what `get_callback_state` read; one that was not there then starts afresh."""
    for name, callback in _named(callbacks):
        if name not in state:
            continue
        if hasattr(callback, "set_state"):
            callback.set_state(state[name])
        else:
            set_memory(callback, state[name])


def _named(callbacks: Sequence[keras.callbacks.Callback]) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    """Names by class; the second of a class is `Class-2`."""
    seen: Counter[str] = Counter()
    for callback in callbacks:
        name = type(callback).__name__
        seen[name] += 1
        yield (name if seen[name] == 1 else f"{name}-{seen[name]}"), callback


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
