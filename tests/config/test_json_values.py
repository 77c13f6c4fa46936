"""Values as JSON holds them."""

import json
import math
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from dlexp.config.json_values import json_value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((28, (28, 1)), [28, [28, 1]]),
        (MappingProxyType({"a": (1,)}), {"a": [1]}),
        (np.float32(0.5), 0.5),
        ([np.int64(3), np.bool_(True)], [3, True]),
        (np.array([[1, 2], [3, 4]], np.uint8), [[1, 2], [3, 4]]),
        ("text", "text"),
        (None, None),
        (True, True),
    ],
)
def test_values_are_of_the_kinds_that_json_has(value: Any, expected: Any) -> None:
    held = json_value(value)
    assert held == expected
    assert json.loads(json.dumps(held)) == expected


def test_numbers_that_are_not_finite_stay_unless_json_is_to_be_strict() -> None:
    values = {"best": np.float64("inf"), "losses": np.array([1.0, math.nan])}
    assert json_value(values)["best"] == math.inf
    assert json_value(values, strict=True) == {"best": None, "losses": [1.0, None]}
