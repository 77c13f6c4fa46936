"""Writes help texts: of a command, of a group of commands, and of a config field."""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dlexp.config.experiment_config import config_fields, config_sections
from dlexp.config.spelling import DEFAULTS, flag_text

if TYPE_CHECKING:
    from dlexp.config.command import Command, CommandGroup

_HELP_WIDTH = 100
DEBUG_HELP = "Show the traceback of an error."
_FLAGFILE_HELP = "Read flags from a file, one --flag=value per line."


def command_help(program: str, command: "Command", summary: str) -> str:
    """Returns the help text of a command: usage, summary, description, example, then its flags.

    Args:
        program: the command as it is typed.
        command: the command to describe.
        summary: its line in the table of commands; if empty, the help starts with the description.
    """
    words = f" {command.positionals.usage}" if command.positionals else ""
    opening = [f"usage: {program}{words} [--flag=value ...]", _sentence(summary), _paragraphs(command.description)]
    parts = [text for text in opening if text]
    parts.append(f"Example: {program} {command.example}")
    own = [_help_line(f"--{name}={flag_text(default)}", text) for name, (default, text) in command.flags.items()]
    own += [_help_line("--flagfile=PATH", _FLAGFILE_HELP), _help_line("--debug", DEBUG_HELP)]
    parts.append("\n".join(["flags:", *own]))
    listed = set(command.config_flags if command.listed_config_flags is None else command.listed_config_flags)
    for title, names in config_sections().items():
        lines = [
            _help_line(f"--{name}={flag_text(DEFAULTS[name])}", field_help(name)) for name in names if name in listed
        ]
        if lines:
            parts.append("\n".join([f"{title}:", *lines]))
    if command.known_names:
        parts.append("\n".join(_wrap(title, names) for title, names in command.known_names().items()))
    return "\n\n".join(parts)


def group_help(program: str, group: "CommandGroup", summary: str) -> str:
    """Returns the help text of a group of commands: usage, summary, the subcommands, description."""
    width = max(map(len, group.commands)) + 2
    rows = [f"  {name:<{width}}{line}" for name, (line, _) in group.commands.items()]
    parts = [f"usage: {program} SUBCOMMAND {group.usage} [--flag=value ...]", _sentence(summary)]
    parts += ["\n".join(["subcommands:", *rows]), _paragraphs(group.description)]
    parts.append(f"{program} SUBCOMMAND --help lists the flags.")
    return "\n\n".join(text for text in parts if text)


def field_help(name: str) -> str:
    """Returns the help text of a config field, with its choices or its range."""
    declared = config_fields()[name].metadata
    choices = f" One of {', '.join(declared['choices'])}." if declared["choices"] else ""
    limits = f" {declared['range'].rule.capitalize()}." if declared["range"] else ""
    return f"{declared['help']}{choices}{limits}"


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}." if summary else ""


def _paragraphs(text: str) -> str:
    return "\n\n".join(textwrap.fill(paragraph, _HELP_WIDTH) for paragraph in text.split("\n\n"))


def _wrap(title: str, names: Iterable[str]) -> str:
    return textwrap.fill(f"{title}: {', '.join(names)}", _HELP_WIDTH, subsequent_indent="  ")


def _help_line(flag: str, text: str) -> str:
    indent = " " * 34
    wrapped = textwrap.fill(text, _HELP_WIDTH, initial_indent=indent, subsequent_indent=indent)
    start = f"  {flag}"
    return start + wrapped[len(start) :] if len(start) < len(indent) else f"{start}\n{wrapped}"
