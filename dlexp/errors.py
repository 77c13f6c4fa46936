"""The errors that dlexp raises for what a user can mend: one sentence each, shown without a traceback.

A message says what happened, what was given and what to do. Each class also inherits the builtin that Python code
would expect, so that `except ValueError` keeps working in a notebook.
"""

import difflib
from collections.abc import Iterable


class DlexpError(Exception):
    """Base of all errors that are meant for a user's eyes; ends a command with `exit_code`."""

    exit_code = 1


class ConfigError(DlexpError, ValueError):
    """A flag or a config field has a value that cannot work; found before anything is built."""

    exit_code = 2


class UnknownNameError(ConfigError, LookupError):
    """A name is not known; the message lists the nearest names and all of them."""


class DataError(DlexpError, ValueError):
    """A dataset cannot be read or does not fit the experiment."""


class ModelError(DlexpError, ValueError):
    """A model cannot be built for this input, or its weights cannot be had."""


class TrainingError(DlexpError, RuntimeError):
    """A training came to no usable model."""


class DivergedError(TrainingError):
    """The loss is not finite any more.

    Attributes:
        step: at which it was seen, counted from 1.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss is not finite at step {step}: choose a smaller --learning_rate, or clip gradients")
        self.step = step


class PrunedError(DlexpError):
    """A sweep has given up a training that is not among the better ones; it could be resumed."""


class InterruptedRunError(DlexpError):
    """A signal has stopped a training that can be resumed."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class RunNotFoundError(DlexpError, LookupError):
    """A RUN reference names no run of the store, or more than one."""

    exit_code = 2


class StoreError(DlexpError, OSError):
    """The store cannot be read or written."""


class EvaluationError(DlexpError, RuntimeError):
    """An evaluation does not give what was recorded."""


class CheckpointError(DlexpError, ValueError):
    """A checkpoint is damaged, foreign or not there."""


# Of another library's message within one of ours; the traceback has all of it.
_MOST_CHARS_OF_LINE = 300
_MOST_CHARS_JOINED = 1000


def one_line(err: BaseException) -> str:
    r"""What an exception of a library says, for the middle of a message: its first line, of 300 characters at most.

    Libraries put what helps into the first line; hints, addresses and whole queries follow. One without a text is
    named by its class.

    Example:
        >>> one_line(OSError("disk is full\n[SQL: INSERT ...]")), one_line(TimeoutError())
        ('disk is full', 'TimeoutError')
    """
    lines = str(err).strip().splitlines()
    return lines[0].rstrip()[:_MOST_CHARS_OF_LINE] if lines else type(err).__name__


def joined_lines(err: BaseException) -> str:
    """All that an exception says, on one line of 1,000 characters at most.

    For libraries that put the reason below their first line, as Keras does.
    """
    return " ".join(str(err).split())[:_MOST_CHARS_JOINED]


def missing_package(feature: str, *requirements: str, extra: str) -> ConfigError:
    """Makes the error of a feature whose optional package is not installed.

    Args:
        feature: as it was asked for: "--wandb".
        requirements: of the extra in `setup.cfg`, which pip can install from anywhere: "wandb>=0.31".
        extra: of dlexp that brings them, which pip finds only in a clone: "wandb".

    Returns:
        The error, not yet raised.
    """
    command = " ".join(["pip install", *(f"'{requirement}'" for requirement in requirements)])
    return ConfigError(
        f"{feature} needs a package that is not installed: {command}, or in a clone of dlexp pip install '.[{extra}]'"
    )


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Makes the error for a name that is not known.

    Args:
        kind: what was looked for, in the singular: "model", "optimizer".
        name: what was given.
        known: all names there are; sorted for the message.

    Returns:
        The error, not yet raised.

    Example:
        >>> str(unknown_name("model", "resnet2", ["mlp", "resnet20"]))
        "unknown model 'resnet2': did you mean resnet20? Known models: mlp, resnet20"
    """
    names = sorted(known, key=str.lower)
    by_lower = {each.lower(): each for each in names}
    nearest = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(nearest)}? " if nearest else ". "
    plural = kind[:-1] + "ies" if kind.endswith("y") else kind + "s"
    return UnknownNameError(f"unknown {kind} {name!r}{hint}Known {plural}: {', '.join(names) or '(none)'}")
