"""What processes need that are forked from a server, which has already imported TensorFlow (multiprocessing)."""

import contextlib
import ctypes
import fcntl
import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Inside the block, a started process does not import the main script of this process, as it would by default.

    The import would take time, and would run the whole script again if it has no `if __name__ == "__main__"`.
    """
    main = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main |= kept


def end_with_parent() -> None:
    """Makes the kernel kill this process group when its parent ends, on Linux; no thread is needed, nor the GIL.

    The parent holds the other end of a pipe that nothing is written to: this end becomes readable when it is closed.
    Call it in a process that leads a group, so that the processes that it has started end too.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)


@contextlib.contextmanager
def printing_to(path: str) -> Iterator[None]:
    """Appends stdout and stderr, also of C libraries, to a file, line by line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # the last line before a process dies matters most
    _flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(path or os.devnull, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            _flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


def describe_exit(code: int | None) -> str:
    """Returns how a process ended, as a clause: "was ended by SIGKILL"; None means that only its pipe has closed."""
    if code is None:
        return "closed its pipe and kept running"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
