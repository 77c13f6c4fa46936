"""Every experiment flag: defined from the config's fields, read into a config, written as a flagfile."""

import json
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from absl import flags

from dlexp import catalog
from dlexp.config.experiment_config import ExperimentConfig, config_fields, config_sections
from dlexp.errors import ConfigError, unknown_name
from dlexp.registry import AUGMENTATIONS, MODELS, SOURCES

_HELP_WIDTH = 100
_DEBUG_HELP = "Shows the traceback of an error."
RESUME_HELP = (
    "Goes on with a run that was stopped or killed, with its own flags, exactly where it was: a run ID or a prefix, a "
    "name, a folder, latest; or auto: the unfinished run of the flags given here, and a new one if there is none. Only "
    "--epochs may be raised with it, and what no result depends on may differ, such as --num_workers."
)


def define_experiment_flags(flag_values: flags.FlagValues, *, names: Iterable[str] | None = None) -> None:
    """Defines one flag for every config field, or for some, with its default and its help text."""
    for name in config_fields() if names is None else names:
        setting = config_fields()[name]
        define = _DEFINERS.get(setting.type, flags.DEFINE_string)
        default = _flag_text(_DEFAULTS[name]) if define is flags.DEFINE_string else _DEFAULTS[name]
        define(name, default, setting.metadata["help"], flag_values=flag_values)


def define_flags(flag_values: flags.FlagValues, definitions: Mapping[str, tuple[Any, str]]) -> None:
    """Defines the flags of a command, each a default and what it means, and `--debug`, which all have."""
    for name, (default, text) in {**definitions, "debug": (False, _DEBUG_HELP)}.items():
        _DEFINERS.get(type(default), flags.DEFINE_string)(name, default, text, flag_values=flag_values)


def config_from_flags(flag_values: flags.FlagValues) -> ExperimentConfig:
    """Makes the config that the flags describe; fields that have no flag keep their default.

    Raises:
        ConfigError: a value cannot be read, or cannot work.
    """
    fields = config_fields()
    return ExperimentConfig.of(
        **{
            name: _field_value(name, fields[name].type, flag_values[name].value)
            for name in fields
            if name in flag_values
        }
    )


def given_fields(flag_values: flags.FlagValues, config: ExperimentConfig) -> dict[str, Any]:
    """The fields of `config_from_flags` whose flags were given, as they change a config that is stored already.

    Not the store, which says where that one is.
    """
    return {name: value for name, value in config.flat().items() if flag_values[name].present and name != "store"}


def config_from_words(words: Sequence[str]) -> ExperimentConfig:
    """The config that flags of `dlexp train` describe, without the command.

    Raises:
        ConfigError: a flag is unknown, or a value cannot be read or cannot work.
    """
    flag_values = flags.FlagValues()
    define_experiment_flags(flag_values)
    parse_flags(flag_values, ["dlexp train", *words])
    return config_from_flags(flag_values)


def value_from_text(name: str, text: str) -> Any:
    """Value that `--name=text` gives its config field; for `model_args.depth`, what the pair depth=text gives.

    Raises:
        ConfigError: the text cannot be read.
    """
    field, _, key = name.partition(".")
    if key:
        return _parse_scalar(text)
    kind: Any = config_fields()[field].type
    flag_values = flags.FlagValues()
    define_experiment_flags(flag_values, names=[field])
    try:
        flag_values[field].parse(text)
    except flags.Error as err:
        raise ConfigError(f"{name}={text!r} cannot be read: it must be of type {kind.__name__}") from err
    return _field_value(field, kind, flag_values[field].value)


def config_to_flagfile(config: ExperimentConfig) -> str:
    """Text of a flagfile that sets every field: `dlexp train --flagfile=run.flags` trains the same again."""
    lines = [f"--{name}={_flag_text(value)}" for name, value in config.flat().items()]
    return "\n".join(["# Every flag of this run: dlexp train --flagfile=run.flags", *lines]) + "\n"


def store_option(store: str) -> str:
    """What a printed command needs to find a store: nothing for the default one."""
    return "" if store == _DEFAULTS["store"] else f" --store={shlex.quote(store)}"


def parse_flags(flag_values: flags.FlagValues, argv: Sequence[str], *, max_positionals: int = 0) -> list[str]:
    """Reads a command line into flags.

    Args:
        flag_values: with the flags of the command defined.
        argv: command and flags; `--flagfile=PATH` is expanded where it stands, so later values win.
        max_positionals: how many words that are no flags the command takes.

    Returns:
        The positionals.

    Raises:
        ConfigError: an unknown flag (the nearest are named), a value that cannot be read, a stray word.
    """
    try:
        command, *positionals = flag_values(list(argv))
    except flags.UnrecognizedFlagError as err:
        known = {f"--{name}": name for name in flag_values}
        nearest = str(unknown_name("flag", f"--{err.flagname}", known)).split("Known flags")[0].strip().rstrip("?.")
        raise ConfigError(f"{nearest}; {argv[0]} --help lists all flags") from err
    except flags.Error as err:
        raise ConfigError(f"{str(err).strip().rstrip('.')}: {argv[0]} --help tells what is expected") from err
    if len(positionals) > max_positionals:
        raise ConfigError(
            f"{positionals[max_positionals]!r} is not a flag: write --name=value, also for booleans ({command} --help)"
        )
    return positionals


def experiment_help(command: str) -> str:
    """Help text of all experiment flags, by section, with every registered name at the end."""
    parts = [
        f"usage: {command} [--flagfile=PATH] [--flag=value ...]\n",
        "Trains one model, keeps its best and last checkpoint, evaluates the best on the test split, logs it all.",
        f"Example: {command} --dataset=digits --model=small_cnn --epochs=5\n",
    ]
    for title, names in config_sections().items():
        parts.append(f"{title}:")
        parts += [_flag_help(name) for name in names]
        parts.append("")
    parts += ["Further flags:", _help_line("--flagfile=PATH", "Reads flags from a file, one --flag=value a line.")]
    parts += [_help_line("--resume=", RESUME_HELP), _help_line("--debug", _DEBUG_HELP), ""]
    for title, known in _registered_names():
        parts.append(textwrap.fill(f"{title}: {', '.join(known)}", _HELP_WIDTH, subsequent_indent="  "))
    return "\n".join(parts)


def command_help(command: str, summary: str, definitions: Mapping[str, tuple[Any, str]]) -> str:
    """Help text of a command from its flags, each a default and what it means."""
    lines = [f"usage: {command} [--flag=value ...]\n", f"{summary[0].upper()}{summary[1:]}.\n", "flags:"]
    lines += [_help_line(f"--{name}={_flag_text(default)}", text) for name, (default, text) in definitions.items()]
    return "\n".join([*lines, _help_line("--debug", _DEBUG_HELP)])


def _registered_names() -> list[tuple[str, Iterable[str]]]:
    return [
        ("models", MODELS.names()),
        ("datasets", SOURCES.names()),
        ("augmentations", AUGMENTATIONS.names()),
        ("optimizers", catalog.OPTIMIZERS),
    ]


def _flag_help(name: str) -> str:
    setting = config_fields()[name]
    default = _flag_text(_DEFAULTS[name])
    choices = f" One of {', '.join(setting.metadata['choices'])}." if setting.metadata["choices"] else ""
    return _help_line(f"--{name}={default}", setting.metadata["help"] + choices)


def _help_line(flag: str, text: str) -> str:
    indent = " " * 34
    wrapped = textwrap.fill(text, _HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    start = f"  {flag}"
    return start + wrapped[len(start) :] if len(start) < len(indent) else f"{start}\n{wrapped}"


_DEFAULTS = ExperimentConfig().flat()
_DEFINERS: dict[Any, Any] = {bool: flags.DEFINE_boolean, int: flags.DEFINE_integer, float: flags.DEFINE_float}


def _flag_text(value: Any) -> str:
    """How a field is spelled on the command line; `_field_value` reads it back."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        simple = all(_is_simple(key, each) for key, each in value.items())
        return ",".join(f"{k}={_flag_text(v)}" for k, v in value.items()) if simple else json.dumps(dict(value))
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)


def _is_simple(key: str, value: Any) -> bool:
    """Whether `key=value` on a command line reads back as the same pair; otherwise the whole is written as JSON."""
    if isinstance(value, (list, tuple, Mapping)) or key.startswith("{"):
        return False
    try:
        return _parse_pairs("", f"{key}={_flag_text(value)}") == {key: value}
    except ConfigError:
        return False


def _field_value(name: str, kind: Any, value: Any) -> Any:
    if kind in (str, bool, int, float):
        return value
    text = str(value or "").strip()
    if kind == tuple[str, ...]:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind == tuple[int, int] | None:
        return _parse_size(name, text)
    return _parse_pairs(name, text)


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
        pairs[key.strip()] = _parse_scalar(value.strip())
    return pairs


def _parse_scalar(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
