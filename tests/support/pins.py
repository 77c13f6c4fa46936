"""Pins on what a library does not document: their failure says what changed, and which of its files to look at."""

import contextlib
from types import TracebackType

import pytest


class Pin(contextlib.ContextDecorator):
    """Fails with "LIBRARY changed WHAT: see FILE" for whatever is raised within; also a decorator of a test.

    Args:
        library: its name.
        what: what dlexp relies on.
        file: of the library, where that is written.
    """

    def __init__(self, library: str, what: str, file: str) -> None:
        self._sentence = f"{library} changed {what}: see {file}"

    def __enter__(self) -> None:
        """Does nothing."""

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, _: TracebackType | None) -> None:
        """Fails; a removed attribute can surface as any error."""
        if isinstance(err, Exception):
            pytest.fail(f"{self._sentence} ({type(err).__name__}: {err})")
