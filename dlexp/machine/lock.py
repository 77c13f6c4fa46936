"""File locks that the kernel releases when the process that holds them ends, even if it is killed."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator

import filelock

from dlexp.errors import StoreError

_LOOKING_SECONDS = 1.0  # `is_held` itself holds the lock for a moment


@contextlib.contextmanager
def hold_lock(path: pathlib.Path, refusal: Callable[[], str], *, wait_s: float = _LOOKING_SECONDS) -> Iterator[None]:
    """Holds a lock during the block.

    Args:
        path: of the lock file.
        refusal: returns the error message for the case that another process holds the lock.
        wait_s: seconds to wait for another process.

    Raises:
        StoreError: another process holds the lock.
    """
    lock = filelock.FileLock(path, is_singleton=False)
    try:
        lock.acquire(timeout=wait_s)
    except filelock.Timeout as err:
        raise StoreError(refusal()) from err
    try:
        yield
    finally:
        lock.release()


def is_held(path: pathlib.Path) -> bool:
    """Returns whether a process holds a lock; False if the folder cannot be written, as no process can hold it then."""
    if not path.exists():
        return False
    try:
        with filelock.FileLock(path, timeout=0, is_singleton=False):
            return False
    except filelock.Timeout:
        return True
    except OSError:
        return False
