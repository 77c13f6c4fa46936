"""The help texts of commands and of the flags of an experiment."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from dlexp.config.experiment_config import config_fields, config_sections
from dlexp.config.spelling import DEFAULTS, flag_text

_HELP_WIDTH = 100
DEBUG_HELP = "Shows the traceback of an error."
RESUME_HELP = (
    "Goes on with a run that was stopped or killed, with its own flags, exactly where it was: a run ID or a prefix, a "
    "name, a folder, latest; or auto: the unfinished run of the flags given here, and a new one if there is none. Only "
    "--epochs may be raised with it, and what no result depends on may differ, such as --num_workers."
)

HELP_WORDS = ("--help", "-h", "--helpshort", "--helpfull")


def experiment_help(command: str, registered: Mapping[str, Iterable[str]]) -> str:
    """Help text of all experiment flags, by section.

    Args:
        command: as it is typed.
        registered: names that flags can take, by what they are, listed at the end.
    """
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
    parts += [_help_line("--resume=", RESUME_HELP), _help_line("--debug", DEBUG_HELP), ""]
    for title, known in registered.items():
        parts.append(textwrap.fill(f"{title}: {', '.join(known)}", _HELP_WIDTH, subsequent_indent="  "))
    return "\n".join(parts)


def command_help(command: str, summary: str, definitions: Mapping[str, tuple[Any, str]]) -> str:
    """Help text of a command from its flags, each a default and what it means."""
    lines = [f"usage: {command} [--flag=value ...]\n", f"{summary[0].upper()}{summary[1:]}.\n", "flags:"]
    lines += [_help_line(f"--{name}={flag_text(default)}", text) for name, (default, text) in definitions.items()]
    return "\n".join([*lines, _help_line("--debug", DEBUG_HELP)])


def field_help(name: str) -> str:
    """Help text of a config field, with the choices or the range that it must be in."""
    declared = config_fields()[name].metadata
    choices = f" One of {', '.join(declared['choices'])}." if declared["choices"] else ""
    limits = f" {declared['range'].rule.capitalize()}." if declared["range"] else ""
    return f"{declared['help']}{choices}{limits}"


def _flag_help(name: str) -> str:
    return _help_line(f"--{name}={flag_text(DEFAULTS[name])}", field_help(name))


def _help_line(flag: str, text: str) -> str:
    indent = " " * 34
    wrapped = textwrap.fill(text, _HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    start = f"  {flag}"
    return start + wrapped[len(start) :] if len(start) < len(indent) else f"{start}\n{wrapped}"
