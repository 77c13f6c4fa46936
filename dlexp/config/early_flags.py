"""The flags that are read before a command defines its own: help and `--debug`.

This module imports no other module of dlexp, so that `dlexp --help` starts at once.
"""

from collections.abc import Sequence

HELP_WORDS = ("--help", "-h", "--helpshort", "--helpfull")


def is_debug(words: Sequence[str]) -> bool:
    """Returns whether a command line asks for tracebacks."""
    return any(word in ("--debug", "--debug=true") for word in words)
