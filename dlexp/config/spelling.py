"""How a value of the config is spelled on the command line and in a flagfile, and read back."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError

DEFAULTS = ExperimentConfig().flat()


def config_to_flagfile(config: ExperimentConfig) -> str:
    """Text of a flagfile that sets every field: `dlexp train --flagfile=run.flags` trains the same again."""
    lines = [f"--{name}={flag_text(value)}" for name, value in config.flat().items()]
    return "\n".join(["# Every flag of this run: dlexp train --flagfile=run.flags", *lines]) + "\n"


def store_option(store: str) -> str:
    """What a printed command needs to find a store: nothing for the default one."""
    return "" if store == DEFAULTS["store"] else f" --store={shlex.quote(store)}"


def flag_text(value: Any) -> str:
    """How a field is spelled on the command line; `field_value` reads it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        simple = all(_is_simple(key, each) for key, each in value.items())
        return ",".join(f"{k}={flag_text(v)}" for k, v in value.items()) if simple else json.dumps(dict(value))
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _is_simple(key: str, value: Any) -> bool:
    """Whether `key=value` on a command line reads back as the same pair; otherwise the whole is written as JSON."""
    if isinstance(value, (list, tuple, Mapping)) or key.startswith("{"):
        return False
    try:
        return _parse_pairs("", f"{key}={flag_text(value)}") == {key: value}
    except ConfigError:
        return False


def field_value(name: str, kind: Any, value: Any) -> Any:
    """The value of a config field from the value of its flag.

    Args:
        name: of the field, for messages.
        kind: type of the field.
        value: what absl has read: a number, a boolean, or text.

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
    """The names that commas join, without the spaces around them; empty ones are left out.

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
            raise ConfigError(f"--{name}={text}: {part!r} must be key=value, pairs joined by commas")
        pairs[key.strip()] = parse_scalar(value.strip())
    return pairs


def parse_scalar(text: str) -> Any:
    """A boolean, None, a whole number or a number, if the text is one; otherwise the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
