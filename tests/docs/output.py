"""Compares what a page shows with what was printed: the words must be equal, numbers, IDs and paths may differ."""

import re

_VARIES = re.compile(r"\S*\d\S*|\(?[0-9a-f]{8,}\)?")
_PATH = re.compile(r"(?<!\S)/\S+")


def first_difference(shown: str, printed: str) -> str:
    """The first shown line that was not printed, in the order of the page; empty if all were.

    A line `...` stands for any lines, `...` at the end of a line for its rest.
    """
    lines = iter(printed.splitlines())
    for line in shown.splitlines():
        if line.strip() == "...":
            continue
        if not any(_matches(line, candidate) for candidate in lines):
            return line
    return ""


def _matches(shown: str, printed: str) -> bool:
    start = shown.removesuffix("...")
    if start != shown:
        words = _shape(start)
        return _shape(printed)[: len(words)] == words
    return _shape(shown) == _shape(printed)


def _shape(line: str) -> list[str]:
    """The words of a line, with the same sign for all that differs from run to run."""
    return [_VARIES.sub("0", word) if not _PATH.fullmatch(word) else "/" for word in line.split()]
