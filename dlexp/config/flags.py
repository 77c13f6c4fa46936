"""The experiment flags: defined from the config's fields, and read into a config."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from absl import flags

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.help import DEBUG_HELP, field_help
from dlexp.config.presets import expand_flagfiles
from dlexp.config.setting import AUTO
from dlexp.config.spelling import DEFAULTS, field_value, flag_text, parse_scalar
from dlexp.errors import ConfigError, unknown_name


def define_experiment_flags(flag_values: flags.FlagValues, *, names: Iterable[str] | None = None) -> None:
    """Defines a flag for every config field, or for those in `names`, with its default and its help text."""
    for name in config_fields() if names is None else names:
        setting = config_fields()[name]
        define: Any = _define_size if setting.metadata["auto"] else _DEFINERS.get(setting.type, flags.DEFINE_string)
        default = flag_text(DEFAULTS[name]) if define is flags.DEFINE_string else DEFAULTS[name]
        define(name, default, field_help(name), flag_values=flag_values)


def define_flags(flag_values: flags.FlagValues, definitions: Mapping[str, tuple[Any, str]]) -> None:
    """Defines a command's own flags from their defaults and help texts, and `--debug`, which every command has."""
    for name, (default, text) in {**definitions, "debug": (False, DEBUG_HELP)}.items():
        _DEFINERS.get(type(default), flags.DEFINE_string)(name, default, text, flag_values=flag_values)


def config_from_flags(flag_values: flags.FlagValues, *, names: Iterable[str] | None = None) -> ExperimentConfig:
    """Makes a config from the values of all flags, or of those in `names`; other fields keep their defaults.

    Raises:
        ConfigError: a value cannot be read, or is not allowed.
    """
    fields = config_fields()
    chosen = fields if names is None else names
    return ExperimentConfig.of(
        **{name: field_value(name, fields[name].type, flag_values[name].value) for name in chosen}
    )


def config_from_words(words: Sequence[str]) -> ExperimentConfig:
    """Makes a config from the flags of a `dlexp train` command line.

    Raises:
        ConfigError: a flag is unknown, or a value cannot be read or is not allowed.
    """
    flag_values = flags.FlagValues()
    define_experiment_flags(flag_values)
    parse_flags(flag_values, ["dlexp train", *words])
    return config_from_flags(flag_values)


def value_from_text(name: str, text: str) -> Any:
    """Returns the value of a field for `--name=text`; for `model_args.depth`, the value of the pair `depth=text`.

    Raises:
        ConfigError: the text cannot be read.
    """
    field, _, key = name.partition(".")
    if key:
        return parse_scalar(text)
    kind: Any = config_fields()[field].type
    flag_values = flags.FlagValues()
    define_experiment_flags(flag_values, names=[field])
    try:
        flag_values[field].parse(text)
    except flags.Error as err:
        raise ConfigError(f"{name}={text!r} cannot be read: it must be of type {kind.__name__}") from err
    return field_value(field, kind, flag_values[field].value)


def parse_flags(flag_values: flags.FlagValues, argv: Sequence[str], *, max_positionals: int | None = 0) -> list[str]:
    """Reads a command line into flags.

    Args:
        flag_values: holds the definitions of the command's flags.
        argv: command and flags; `--flagfile=PATH` is expanded where it stands, so later values win.
        max_positionals: how many words that are not flags the command accepts; None for any number.

    Returns:
        The positionals.

    Raises:
        ConfigError: an unknown flag (the nearest are named), a value that cannot be read, a stray word, no such file.
    """
    try:
        command, *positionals = flag_values([argv[0], *expand_flagfiles(argv[1:])])
    except flags.UnrecognizedFlagError as err:
        known = {f"--{name}": name for name in flag_values}
        nearest = str(unknown_name("flag", f"--{err.flagname}", known)).split("Known flags")[0].strip().rstrip("?.")
        raise ConfigError(f"{nearest}; {argv[0]} --help lists all flags") from err
    except flags.Error as err:
        raise ConfigError(f"{str(err).strip().rstrip('.')}: {argv[0]} --help shows what is expected") from err
    if max_positionals is not None and len(positionals) > max_positionals:
        raise ConfigError(
            f"{positionals[max_positionals]!r} is not a flag: write --name=value, also for booleans ({command} --help)"
        )
    return positionals


@contextlib.contextmanager
def _must_be(kind: str) -> Iterator[None]:
    """Replaces Python's error for a value that cannot be read by a plain one; absl puts the flag in front of it."""
    try:
        yield
    except (TypeError, ValueError) as err:
        raise ValueError(f"it must be {kind}") from err


class _BooleanParser(flags.BooleanParser):
    def parse(self, argument: str | int) -> bool:
        with _must_be("true or false"):
            return super().parse(argument)


class _IntegerParser(flags.IntegerParser):
    def convert(self, argument: int | float | str) -> int:
        with _must_be("a whole number"):
            return super().convert(argument)


class _SizeParser(flags.IntegerParser):
    def convert(self, argument: int | float | str) -> int:
        if argument == "auto":
            return AUTO
        with _must_be("auto or a whole number, at least 0"):
            number = super().convert(argument)
            if number < 0:
                raise ValueError
        return number


class _FloatParser(flags.FloatParser):
    def convert(self, argument: int | float | str) -> float:
        with _must_be("a number"):
            return super().convert(argument)


def _define_boolean(name: str, default: bool, text: str, *, flag_values: flags.FlagValues) -> None:
    flag = flags.BooleanFlag(name, default, text)  # accepts --noNAME too, and has its own parser
    flag.parser = _BooleanParser()
    flags.DEFINE_flag(flag, flag_values)


def _define_integer(name: str, default: int, text: str, *, flag_values: flags.FlagValues) -> None:
    flags.DEFINE(_IntegerParser(), name, default, text, flag_values, flags.ArgumentSerializer())


def _define_size(name: str, default: int, text: str, *, flag_values: flags.FlagValues) -> None:
    flags.DEFINE(_SizeParser(), name, default, text, flag_values, flags.ArgumentSerializer())


def _define_float(name: str, default: float, text: str, *, flag_values: flags.FlagValues) -> None:
    flags.DEFINE(_FloatParser(), name, default, text, flag_values, flags.ArgumentSerializer())


_DEFINERS: dict[Any, Any] = {bool: _define_boolean, int: _define_integer, float: _define_float}
