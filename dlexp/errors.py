"""The errors that dlexp raises for what a user can correct: one sentence each, shown without a traceback.

A message says what happened, what was given and what to do. Each class also inherits the builtin that Python code
would expect, so that `except ValueError` keeps working in a notebook.
"""

import difflib
from collections.abc import Iterable


class DlexpError(Exception):
    """Base of all errors that are shown to users; a command that raises one ends with `exit_code`."""

    exit_code = 1


class ConfigError(DlexpError, ValueError):
    """A flag or a config field has a value that cannot work; raised before anything is built."""

    exit_code = 2


class UnknownNameError(ConfigError, LookupError):
    """A name is unknown; the message lists the nearest names and all known names."""


class DataError(DlexpError, ValueError):
    """A dataset cannot be read or does not fit the experiment."""


class ModelError(DlexpError, ValueError):
    """A model cannot be built for this input, or its weights are not available."""


class TrainingError(DlexpError, RuntimeError):
    """A training gave no usable model."""


class DivergedError(TrainingError):
    """The loss is no longer finite.

    Attributes:
        step: the step at which this was seen, counted from 1.
    """

    def __init__(self, step: int) -> None:
        super().__init__(
            f"the loss is not finite at step {step}: choose a smaller --learning_rate, or set --gradient_clip_norm"
        )
        self.step = step


class PrunedError(DlexpError):
    """A sweep stopped a trial early because others are better; the trial could be resumed."""


class InterruptedRunError(DlexpError):
    """A signal stopped a training, which can be resumed."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class RunNotFoundError(DlexpError, LookupError):
    """A RUN reference matches no run of the store, or more than one."""

    exit_code = 2


class StoreError(DlexpError, OSError):
    """The store cannot be read or written."""


class EvaluationError(DlexpError, RuntimeError):
    """An evaluation does not reproduce the recorded metrics."""


class CheckpointError(DlexpError, ValueError):
    """A checkpoint is damaged, missing, or not written by dlexp."""


# Limits on another library's message within one of ours; the traceback shows all of it.
_MOST_CHARS_OF_LINE = 300
_MOST_CHARS_JOINED = 1000


def one_line(err: BaseException) -> str:
    r"""Returns the first line of an exception's message, at most 300 characters, for use within another message.

    Libraries put the useful part into the first line; hints, addresses and whole queries follow. For an exception
    without a message, the name of its class is returned.

    Example:
        >>> one_line(OSError("disk is full\n[SQL: INSERT ...]")), one_line(TimeoutError())
        ('disk is full', 'TimeoutError')
    """
    lines = str(err).strip().splitlines()
    return lines[0].rstrip()[:_MOST_CHARS_OF_LINE] if lines else type(err).__name__


def joined_lines(err: BaseException) -> str:
    """Returns the whole message of an exception on one line, at most 1,000 characters.

    For libraries that put the reason below the first line, as Keras does.
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
        known: all known names; the message sorts them.

    Returns:
        The error, not yet raised.

    Example:
        >>> str(unknown_name("model", "resnet2", ["mlp", "resnet20"]))
        "unknown model 'resnet2': did you mean resnet20? Known models: mlp, resnet20"
    """
    names = sorted(known, key=str.lower)
    by_lower = {known_name.lower(): known_name for known_name in names}
    nearest = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)]
    hint = f": did you mean {' or '.join(nearest)}? " if nearest else ". "
    plural = kind[:-1] + "ies" if kind.endswith("y") else kind + ("es" if kind.endswith(("ch", "s", "x")) else "s")
    return UnknownNameError(f"unknown {kind} {name!r}{hint}Known {plural}: {', '.join(names) or '(none)'}")
