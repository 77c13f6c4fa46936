"""Signals that end a training: the first asks it to save and leave, the second ends the process at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from dlexp.errors import InterruptedRunError

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequests:
    """What has been asked for by signals while `catch_signals` lasts.

    Attributes:
        signal: the one that came; None before.
        deferred: note it only, to be looked at between two steps; else InterruptedRunError is raised at once.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.deferred = False

    def check(self) -> None:
        """Raises InterruptedRunError if a signal has come."""
        if self.signal is not None:
            raise InterruptedRunError(f"stopped by {self.signal.name}")

    @contextlib.contextmanager
    def defer(self) -> Iterator[None]:
        """Within the block signals are only noted, so that none tears apart what belongs together."""
        with self._set_deferred(True):
            yield

    @contextlib.contextmanager
    def allow(self) -> Iterator[None]:
        """Within the block, of pure computation, a signal is acted on at once; one that has come before, too."""
        with self._set_deferred(False):
            self.check()
            yield

    @contextlib.contextmanager
    def _set_deferred(self, deferred: bool) -> Iterator[None]:
        former, self.deferred = self.deferred, deferred
        try:
            yield
        finally:
            self.deferred = former

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.signal = signal.Signals(number)
        if not self.deferred:
            self.check()


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequests]:
    """Catches SIGTERM, SIGINT and SIGUSR1, which batch systems send ahead of a time limit, while the block lasts.

    Outside the main thread Python cannot catch signals: nothing changes then.
    """
    requests = StopRequests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    former = {number: signal.signal(number, requests._receive) for number in _SIGNALS}
    try:
        yield requests
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
