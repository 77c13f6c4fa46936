"""Parses and formats times and sizes, such as `45m` and `4GB`."""

import math
import re

from dlexp.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def parse_seconds(flag: str, text: str) -> float:
    """Parses a time such as `90s`, `45m`, `2h` or `1d` into seconds; an empty text gives 0.

    Raises:
        ConfigError: the text is not a time.
    """
    return _parse(flag, text, _SECONDS, example="90s, 45m or 2h")


def parse_bytes(flag: str, text: str) -> int:
    """Parses a size such as `800MB` or `4GB` into bytes, at least one; an empty text gives 0.

    Raises:
        ConfigError: the text is not a size.
    """
    return math.ceil(_parse(flag, text, _BYTES, example="800MB or 4GB"))


def format_seconds(seconds: float) -> str:
    """Formats seconds as `42 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _parse(flag: str, text: str, units: dict[str, int], *, example: str) -> float:
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.strip().lower())
    amount = float(found[1]) * units.get(found[2], 0) if found else 0.0
    if not 0 < amount < math.inf:
        raise ConfigError(f"--{flag}={text} must be a number with a unit, such as {example}")
    return amount
