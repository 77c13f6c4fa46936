"""Signals that stop a training run: the first asks it to save and stop, the second ends the process at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from dlexp.errors import InterruptedRunError

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequests:
    """Requests to stop, received as signals inside `catch_signals`.

    Attributes:
        signal: the first signal that arrived; None before.
        deferred: if true, a signal is only remembered until `check` is called between two steps; otherwise the handler
            raises InterruptedRunError at once.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.deferred = False
        self._has_raised = False

    def check(self) -> None:
        """Raises InterruptedRunError if a signal has arrived."""
        if self.signal is not None:
            raise InterruptedRunError(self._reason())

    @contextlib.contextmanager
    def defer(self) -> Iterator[None]:
        """Only remembers signals during the block, so that no write is interrupted halfway."""
        with self._set_deferred(True):
            yield

    @contextlib.contextmanager
    def allow(self) -> Iterator[None]:
        """Lets a signal raise at once during the block, which only computes; an earlier signal raises at its start."""
        with self._set_deferred(False), self._restoring_the_interruption():
            self.check()
            yield

    @contextlib.contextmanager
    def _set_deferred(self, deferred: bool) -> Iterator[None]:
        previous, self.deferred = self.deferred, deferred
        try:
            yield
        finally:
            self.deferred = previous

    @contextlib.contextmanager
    def _restoring_the_interruption(self) -> Iterator[None]:
        """Raises InterruptedRunError in place of an error that a library turned it into.

        The handler raises at any point of the program, also in a call from TensorFlow's C++ code: that gives a
        SystemError, which TensorFlow's Python code turns into a TypeError.
        """
        try:
            yield
        except InterruptedRunError:
            raise
        except Exception as err:
            if not self._has_raised:
                raise
            raise InterruptedRunError(self._reason()) from err

    def _reason(self) -> str:
        return f"stopped by {self.signal.name if self.signal else 'a signal'}"

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)
        if not self.deferred:
            self._has_raised = True
            self.check()


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequests]:
    """Catches SIGTERM, SIGINT and SIGUSR1 during the block; batch systems send them before a time limit.

    Python can catch signals only in the main thread; in other threads this changes nothing.
    """
    requests = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    previous = {number: signal.signal(number, requests._receive) for number in _SIGNALS}
    try:
        with requests._restoring_the_interruption():
            yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
