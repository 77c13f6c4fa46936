"""How a test waits for another process or thread: the deadline only ends a test that would hang."""

import time
from collections.abc import Callable

import psutil


def wait_for(condition: Callable[[], object], *, seconds: float = 60) -> None:
    """Waits until a condition is true; fails if it does not become so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds:g} s"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
