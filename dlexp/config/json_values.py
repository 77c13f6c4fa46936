"""Values as JSON holds them: what Python and NumPy have more kinds of, in the few kinds that JSON has."""

import math
from collections.abc import Mapping
from typing import Any


def json_value(value: Any, *, strict: bool = False) -> Any:
    """A value as JSON holds it, at any depth: tuples and arrays as lists, NumPy's numbers as numbers.

    Args:
        value: of mappings, lists, tuples, arrays, numbers, text and None.
        strict: give None for NaN and infinity, which the standard (RFC 8259) lacks. Otherwise they stay: Python
            writes and reads them.

    Example:
        >>> json_value({"loss": np.float32(0.5), "shape": (28, 28)}), json_value(math.nan, strict=True)
        ({'loss': 0.5, 'shape': [28, 28]}, None)
    """
    if hasattr(value, "tolist"):  # of NumPy, which need not be imported for this
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: json_value(inner, strict=strict) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner, strict=strict) for inner in value]
    return None if strict and isinstance(value, float) and not math.isfinite(value) else value
