"""Parses and formats times and sizes, such as `45m`, `4GB` and `4GiB`."""

import math
import re

from dlexp.errors import ConfigError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BYTES = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12} | {unit.lower(): n for unit, n in _BINARY.items()}


def parse_seconds(flag: str, text: str) -> float:
    """Parses a time such as `90s`, `45m`, `2h` or `1d` into seconds; an empty text gives 0.

    Raises:
        ConfigError: the text is not a time.
    """
    return _parse(flag, text, _SECONDS, example="90s, 45m or 2h")


def parse_bytes(flag: str, text: str) -> int:
    """Parses a size such as `800MB` or `4GiB` into bytes, at least one; an empty text gives 0.

    Raises:
        ConfigError: the text is not a size.
    """
    return math.ceil(_parse(flag, text, _BYTES, example="800MB or 4GiB"))


def format_seconds(seconds: float) -> str:
    """Formats seconds as `42 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_bytes(count: int) -> str:
    """Formats bytes in the largest binary unit that fits, with three or four digits: `1.25 GiB`, `640 MiB`."""
    unit, size = "bytes", 1
    for larger, size_of_larger in _BINARY.items():
        if round(count / size) < 1024:
            break
        unit, size = larger, size_of_larger
    amount = count / size
    decimals = 0 if size == 1 or amount >= 99.95 else 1 if amount >= 9.995 else 2
    return f"{amount:,.{decimals}f} {unit}"


def _parse(flag: str, text: str, units: dict[str, int], *, example: str) -> float:
    if not text:
        return 0.0
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([a-z]+)", text.strip().lower())
    amount = float(found[1]) * units.get(found[2], 0) if found else 0.0
    if not 0 < amount < math.inf:
        raise ConfigError(f"--{flag}={text} must be a number with a unit, such as {example}")
    return amount
