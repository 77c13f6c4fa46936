"""Converts Python and NumPy values to the types that JSON has."""

import math
from collections.abc import Mapping
from typing import Any


def json_value(value: Any, *, strict: bool = False) -> Any:
    """Converts a value to JSON's types, at any depth: tuples and arrays to lists, NumPy's numbers to numbers.

    Args:
        value: made of mappings, lists, tuples, arrays, numbers, text and None.
        strict: replace NaN and infinity, which the standard (RFC 8259) lacks, by None. Otherwise they stay: Python
            writes and reads them.

    Example:
        >>> json_value({"loss": np.float32(0.5), "shape": (28, 28)}), json_value(math.nan, strict=True)
        ({'loss': 0.5, 'shape': [28, 28]}, None)
    """
    if hasattr(value, "tolist"):  # a NumPy value; this test does not import NumPy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: json_value(inner, strict=strict) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(inner, strict=strict) for inner in value]
    return None if strict and isinstance(value, float) and not math.isfinite(value) else value
