"""Writes files atomically: a file is complete, or it does not appear."""

import contextlib
import os
import pathlib
import uuid
from collections.abc import Iterator

TEMPORARY_PREFIX = ".tmp-"


@contextlib.contextmanager
def atomic_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a temporary path in the folder of `path`; the file written there is renamed to `path` when the block ends.

    The file is flushed to disk before the rename, and the folder after it, so that a power cut leaves either the old
    file or the new one. If the block raises, the temporary file is removed and `path` stays as it was.

    Example:
        >>> with atomic_file(folder / "report.json") as temporary:
        ...     temporary.write_text("{}")
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}-{path.name[-64:]}")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8 text to `path` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _flush(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
