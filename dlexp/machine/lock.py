"""Locks that the kernel frees when the process that holds one ends, however it ends."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import filelock

from dlexp.errors import StoreError

_LOOKING_SECONDS = 1.0  # who only looks whether a lock is held, holds it for a moment


@contextlib.contextmanager
def hold_lock(path: pathlib.Path, refusal: Callable[[], str]) -> Iterator[None]:
    """Holds a lock while the block lasts.

    Args:
        path: of the lock file.
        refusal: what to tell the user where another process holds it.

    Raises:
        StoreError: another process holds it.
    """
    lock = filelock.FileLock(path, is_singleton=False)
    try:
        lock.acquire(timeout=_LOOKING_SECONDS)
    except filelock.Timeout as err:
        raise StoreError(refusal()) from err
    try:
        yield
    finally:
        lock.release()


def is_held(path: pathlib.Path) -> bool:
    """Whether a process holds a lock; False where nobody could, as the folder cannot be written."""
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=0, is_singleton=False):
            return False
    except filelock.Timeout:
        return True
    except OSError:
        return False
