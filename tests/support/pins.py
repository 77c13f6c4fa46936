"""Pins on what a library does not document: their failure says what changed, and which of its files to look at."""

import contextlib
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def pin(library: str, what: str, file: str) -> Iterator[None]:
    """Fails with "LIBRARY changed WHAT: see FILE" for whatever is raised within; also a decorator of a test.

    Args:
        library: its name.
        what: what dlexp relies on.
        file: of the library, where that is written.
    """
    try:
        yield
    except Exception as err:  # noqa: BLE001
        # A removed attribute can surface as any error.
        pytest.fail(f"{library} changed {what}: see {file} ({type(err).__name__}: {err})")
