"""Writes config values as text for the command line and for flagfiles, and reads them back."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError

DEFAULTS = ExperimentConfig().flat()


def config_to_flagfile(config: ExperimentConfig) -> str:
    """Returns the text of a flagfile that sets every field: `dlexp train --flagfile=run.flags` repeats the run."""
    fields = config_fields()
    lines = [
        f"--{name}={'auto' if fields[name].metadata['auto'] and value == AUTO else flag_text(value)}"
        for name, value in config.flat().items()
    ]
    return "\n".join(["# Every flag of this run: dlexp train --flagfile=run.flags", *lines]) + "\n"


def store_option(store: str) -> str:
    """Returns the flag that a printed command needs to find a store; empty for the default store."""
    return "" if store == DEFAULTS["store"] else f" --store={shlex.quote(store)}"


def flag_text(value: Any) -> str:
    """Returns the value of a field as text for the command line; `field_value` reads it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        simple = all(_is_simple(key, inner) for key, inner in value.items())
        return ",".join(f"{k}={flag_text(v)}" for k, v in value.items()) if simple else json.dumps(dict(value))
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _is_simple(key: str, value: Any) -> bool:
    """Returns whether `key=value` as text is read back as the same pair; if not, the mapping is written as JSON."""
    if isinstance(value, (list, tuple, Mapping)) or key.startswith("{"):
        return False
    text = f"{key}={flag_text(value)}"
    if len(text.splitlines()) != 1:  # Python ends a line also at characters such as U+001E or U+2028
        return False
    try:
        return _parse_pairs("", text) == {key: value}
    except ConfigError:
        return False


def field_value(name: str, kind: Any, value: Any) -> Any:
    """Converts the value of a flag to the value of its config field.

    Args:
        name: name of the field, for messages.
        kind: type of the field.
        value: the value that absl has read: a number, a boolean, or text.

    Raises:
        ConfigError: the text cannot be read.
    """
    if kind in (str, bool, int, float):
        return value
    text = str(value or "").strip()
    if kind == tuple[str, ...]:
        return parse_names(text)
    if kind == tuple[int, int] | None:
        return _parse_size(name, text)
    return _parse_pairs(name, text)


def parse_names(text: str) -> tuple[str, ...]:
    """Splits text at commas into names without the spaces around them; empty names are left out.

    Example:
        >>> parse_names("flip, crop,")
        ('flip', 'crop')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parse_size(name: str, text: str) -> tuple[int, int] | None:
    parts = text.lower().replace("x", ",").split(",") if text else []
    if not all(part.strip().isdecimal() for part in parts) or len(parts) not in (0, 1, 2):
        raise ConfigError(f"--{name}={text} must be height,width in pixels, such as --{name}=32,32")
    return (int(parts[0]), int(parts[-1])) if parts else None


def _parse_pairs(name: str, text: str) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            pairs = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as err:
            raise ConfigError(f"--{name} is not valid JSON: {err}") from err
        return dict(pairs)
    pairs = {}
    for part in filter(None, text.split(",")):
        key, separator, value = part.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--{name}={text}: {part!r} must be key=value, with commas between pairs")
        pairs[key.strip()] = parse_scalar(value.strip())
    return pairs


def parse_scalar(text: str) -> Any:
    """Returns the boolean, None, the integer or the float that the text spells; otherwise the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
