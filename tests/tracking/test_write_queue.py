"""Writes that are done later, in order, and again where they fail for a reason that passes."""

import threading

import pytest

from dlexp.tracking import write_queue
from dlexp.tracking.write_queue import WriteQueue


def test_write_that_fails_for_good_is_raised_and_what_follows_is_not_written() -> None:
    queue, written = WriteQueue(lambda error: False, grace_s=0), []
    queue.put(lambda: 1 / 0)
    queue.put(lambda: written.append(1))
    with pytest.raises(ZeroDivisionError):
        queue.close()
    assert written == []


class FailingWrite:
    """A write that takes a second of its own clock and fails; the first one waits until the queue is being closed."""

    def __init__(self) -> None:
        self.seconds, self._is_closing = 0.0, threading.Event()

    def clock(self) -> float:
        if threading.current_thread() is threading.main_thread():  # which asks for the time in `close` alone
            self._is_closing.set()
        return self.seconds

    def __call__(self) -> None:
        assert self._is_closing.wait(60)
        self.seconds += 1
        raise OSError("the database is locked")


def test_end_waits_no_longer_than_its_grace_for_a_write_that_never_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "_LAST_PAUSE_SECONDS", 0)
    write = FailingWrite()
    queue = WriteQueue(lambda error: True, grace_s=3, clock=write.clock)
    queue.put(write)
    with pytest.raises(OSError, match="locked"):
        queue.close()
    assert write.seconds == 4


def test_a_write_that_succeeds_later_is_done_before_those_that_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "_FIRST_PAUSE_SECONDS", 0)
    monkeypatch.setattr(write_queue, "_LAST_PAUSE_SECONDS", 0)
    queue, tries, written = WriteQueue(lambda error: True, grace_s=60), iter((1, 2, 3)), []

    def write() -> None:
        if (number := next(tries)) < 3:
            raise OSError("the database is locked")
        written.append(number)

    queue.put(write)
    queue.put(lambda: written.append(4))
    queue.close()
    assert written == [3, 4]
