"""Command: what every command declares, and how it is called: help, flags, positionals, logging, then its work."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from absl import flags

from dlexp.config.early_flags import HELP_WORDS
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.flags import config_from_flags, define_experiment_flags, define_flags, parse_flags
from dlexp.config.help import command_help, group_help
from dlexp.errors import ConfigError, unknown_name


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """A command line that has been read.

    Attributes:
        program: the command as it was typed, for messages: `dlexp runs`.
        positionals: the words that are not flags.
        options: values of the command's own flags, by name.
        given: names of all flags that were typed or read from a flagfile.
        config: what the experiment flags of the command describe; fields without a flag have their default.
    """

    program: str
    positionals: Sequence[str]
    options: Mapping[str, Any]
    given: frozenset[str]
    config: ExperimentConfig

    def given_fields(self, config: ExperimentConfig) -> dict[str, Any]:
        """Returns the config fields whose flags were given, as changes to a stored config.

        The store is left out, because it only says where the stored config is.
        """
        return {name: value for name, value in config.flat().items() if name in self.given and name != "store"}


@dataclass(frozen=True, kw_only=True)
class Positionals:
    """The words of a command line that are not flags.

    Attributes:
        usage: how the help shows them: `RUN|PATH`.
        meaning: what they are, for the error if they are missing: "a run or the path of a checkpoint".
        least: how many are required.
        most: how many are accepted; None for any number.
        replaced_by: a flag that, if given, replaces one of them; empty for none.
    """

    usage: str
    meaning: str
    least: int = 0
    most: int | None = 1
    replaced_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: what it takes, what its help says, and what it does.

    Its name and its summary are in the table that lists it: `dlexp.commands.cli.COMMANDS`, or a `CommandGroup`.

    Attributes:
        run: does the work and returns an exit code; errors are raised. Called when the command line has been read
            and logging is set up.
        example: arguments of an example call, shown in its help and in the error for missing positionals.
        description: text of its help, below the summary.
        flags: its own flags by name: default, which sets the type, and help text.
        config_flags: names of the experiment flags that it accepts.
        listed_config_flags: those that its help lists; None for all of them.
        positionals: None if it accepts none.
        known_names: returns the names that its flags accept, by kind; the help lists them below the flags.

    Example:
        >>> COMMAND = Command(run=list_runs, example="--sort_by=-started", flags={"store": ("mlruns", "Folder.")})
    """

    run: Callable[[CommandLine], int]
    example: str
    description: str = ""
    flags: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    config_flags: Iterable[str] = ()
    listed_config_flags: Iterable[str] | None = None
    positionals: Positionals | None = None
    known_names: Callable[[], Mapping[str, Iterable[str]]] | None = None

    def call(self, argv: Sequence[str], *, summary: str = "") -> int:
        """Runs the command, or prints its help if a flag asks for it.

        Args:
            argv: the command as it is typed, then its arguments.
            summary: the first line of its help.

        Returns:
            The exit code.

        Raises:
            ConfigError: a flag is unknown, a value cannot be read, a positional is missing, or there are too many.
        """
        if any(word in HELP_WORDS for word in argv[1:]):
            print(command_help(argv[0], self, summary))
            return 0
        line = self.read(argv)
        logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING)
        return self.run(line)

    def read(self, argv: Sequence[str]) -> CommandLine:
        """Reads a command line, with the arguments and errors of `call`."""
        config_flags, flag_values = tuple(self.config_flags), flags.FlagValues()
        define_experiment_flags(flag_values, names=config_flags)
        define_flags(flag_values, self.flags)
        most = self.positionals.most if self.positionals else 0
        found = parse_flags(flag_values, argv, max_positionals=most)
        given = frozenset(name for name in flag_values if flag_values[name].present)
        if self.positionals:
            replaced = self.positionals.replaced_by
            found_or_replaced = len(found) + bool(replaced in given and flag_values[replaced].value)
            if found_or_replaced < self.positionals.least:
                raise ConfigError(f"{argv[0]} needs {self.positionals.meaning}: {argv[0]} {self.example}")
        return CommandLine(
            program=argv[0],
            positionals=found,
            options={name: flag_values[name].value for name in self.flags},
            given=given,
            config=config_from_flags(flag_values, names=config_flags),
        )


@dataclass(frozen=True, kw_only=True)
class CommandGroup:
    """Commands that are called by two words, such as `dlexp data describe`.

    Attributes:
        usage: how the help shows the positionals of the subcommands.
        description: text of the group's help, below the subcommands.
        commands: summary and subcommand, by name.
    """

    usage: str
    description: str
    commands: Mapping[str, tuple[str, Command]]

    def call(self, argv: Sequence[str], *, summary: str = "") -> int:
        """Runs the subcommand that the first word names, or prints the help of the group.

        Args:
            argv: the group as it is typed, then the subcommand and its arguments.
            summary: the first line of its help.

        Returns:
            The exit code.

        Raises:
            ConfigError: the subcommand is unknown, or its command line is wrong.
        """
        program, *words = argv
        if not words or words[0] in HELP_WORDS:
            print(group_help(program, self, summary))
            return 0
        name, *words = words
        if name not in self.commands:
            raise unknown_name("subcommand", name, self.commands)
        summary, command = self.commands[name]
        return command.call([f"{program} {name}", *words], summary=summary)
