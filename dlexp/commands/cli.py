"""The `dlexp` command: picks a command, and imports only the module of that command."""

import importlib
import sys
from collections.abc import Sequence

from dlexp.config.early_flags import HELP_WORDS, is_debug
from dlexp.errors import unknown_name
from dlexp.machine.console import leave, report_errors, silence_pillow
from dlexp.tracking.variables import set_variables

# Each name is that of a module in this folder (with _ for -), whose COMMAND is a `Command` or a `CommandGroup`.
COMMANDS = {
    "train": "train one model and record everything",
    "evaluate": "evaluate a checkpoint on any dataset and split",
    "predict": "predict classes and probabilities of images with a checkpoint",
    "runs": "list, filter and sort runs",
    "checkpoints": "list, filter and sort checkpoint files",
    "data": "describe, draw, check, verify and pack datasets",
    "batch-size": "find the heaviest of several models, and the largest batch that fits all",
    "sweep": "train many models over a search space of flags, in parallel",
    "compare": "find which settings are better, whether that is fair, and what would settle it",
    "sync": "bring MLflow and other trackers up to date from the run folders",
    "ui": "show the runs of a store in the MLflow UI or in TensorBoard",
}
_USAGE = """dlexp: train a hundred Keras models, and know which one is best.

usage: dlexp COMMAND [--flag=value ...]

commands:
{commands}

dlexp COMMAND --help lists the flags of a command; --flagfile=PATH reads them from a file.
dlexp --version prints the version.
First steps: dlexp train --epochs=5, then dlexp runs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: program name, command and flags; by default those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 75 stopped by a signal and can be resumed.
    """
    words = list(sys.argv if argv is None else argv)[1:]
    if not words or words[0] in ("help", *HELP_WORDS):
        print(usage())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"dlexp {version('dlexp')}")
        return 0
    return report_errors(lambda: _run_command(words[0], words[1:]), debug=is_debug(words))


def usage() -> str:
    """Returns the help text of `dlexp` itself."""
    commands = "\n".join(f"  {name:<13}{summary}" for name, summary in COMMANDS.items())
    return _USAGE.format(commands=commands)


def _run_command(name: str, words: Sequence[str]) -> int:
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    set_variables()
    command = importlib.import_module(f"dlexp.commands.{name.replace('-', '_')}").COMMAND
    return command.call([f"dlexp {name}", *words], summary=COMMANDS[name])


def run() -> None:
    """Entry point of the console script."""
    silence_pillow()
    leave(main())


if __name__ == "__main__":
    run()
