"""The grammar of `--class_weights`: none, balanced, or a weight for each class that is named."""

import json
import math
from collections.abc import Mapping

from dlexp.errors import ConfigError

_WAYS = "write none, balanced, or class:weight,class:weight"


def parse_class_weights(text: str) -> str | Mapping[str, float]:
    """Reads a `--class_weights`.

    Args:
        text: `none`, `balanced`, `cat:2,dog:0.5`, or a JSON object for names that hold a comma.

    Returns:
        "none", "balanced", or weights by class name.

    Raises:
        ConfigError: a weight is no finite number of at least 0, or a class is named twice.

    Example:
        >>> parse_class_weights("cat:2,dog:0.5")
        {'cat': 2.0, 'dog': 0.5}
    """
    if text in ("none", "balanced"):
        return text
    weights: dict[str, float] = {}
    for name, weight in _pairs(text):
        if name in weights:
            raise ConfigError(f"class_weights={text} names class {name!r} twice: leave one out")
        weights[name] = weight
    if not any(weights.values()):
        raise ConfigError(f"class_weights={text} has no weight above 0: {_WAYS}")
    return weights


def _pairs(text: str) -> list[tuple[str, float]]:
    try:
        if text.startswith("{"):
            pairs = [(str(name), float(weight)) for name, weight in json.loads(text).items()]
        else:
            parts = [part.rpartition(":") for part in text.split(",")]
            pairs = [(name.strip(), float(weight)) for name, _, weight in parts]
    except (ValueError, TypeError, AttributeError, RecursionError) as err:
        raise ConfigError(f"class_weights={text} cannot be read: {_WAYS}") from err
    if not all(name and math.isfinite(weight) and weight >= 0 for name, weight in pairs):
        raise ConfigError(f"class_weights={text} must name classes, with finite weights of at least 0: {_WAYS}")
    return pairs
