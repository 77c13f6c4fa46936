"""A queue of writes: one thread runs them in order, and retries for a while if a database is locked."""

import queue
import threading
import time
from collections.abc import Callable

_PATIENCE_SECONDS = 300.0  # for one write, while the training continues
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_LAST_PAUSE_SECONDS = 1.0  # while `close` waits


class WriteQueue:
    """Runs writes one after another, in the order in which they were queued.

    A write that fails with a temporary error is retried for up to five minutes, with growing pauses. A write must
    therefore be idempotent. After a permanent error nothing more is written.

    Args:
        will_pass: whether an error is temporary.
        grace_s: seconds for which `close` keeps retrying; a write that makes progress may take longer.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        will_pass: Callable[[Exception], bool],
        *,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._will_pass, self._grace_s, self._clock = will_pass, grace_s, clock
        self._writes: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._closing = threading.Event()
        self._closed_at = float("inf")
        # A daemon, so that a write that hangs does not keep a process from ending.
        self._thread = threading.Thread(target=self._work, name="mlflow-writer", daemon=True)
        self._thread.start()

    def put(self, write: Callable[[], object]) -> None:
        """Queues a write."""
        self._writes.put(write)

    def raise_failed(self) -> None:
        """Raises the permanent error of a write, if there was one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Waits until everything is written; raises the permanent error, if there was one."""
        self._closed_at = self._clock()
        self._closing.set()
        self._writes.put(None)
        self._thread.join()
        self.raise_failed()

    def _work(self) -> None:
        while (write := self._writes.get()) is not None:
            if self._error is None:
                try:
                    self._persist(write)
                except Exception as err:  # noqa: BLE001
                    self._error = err  # raised where the tracker is used

    def _persist(self, write: Callable[[], object]) -> None:
        give_up, pause = self._clock() + _PATIENCE_SECONDS, _FIRST_PAUSE_SECONDS
        while True:
            try:
                write()
                return
            except Exception as err:
                if not self._will_pass(err) or self._clock() > min(give_up, self._closed_at + self._grace_s):
                    raise
            if self._closing.wait(pause):
                time.sleep(_LAST_PAUSE_SECONDS)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
