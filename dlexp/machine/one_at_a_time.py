"""Lets only one training run in a process at a time."""

import contextlib
import os
import threading
from collections.abc import Iterator

from dlexp.errors import TrainingError

_lock = threading.Lock()


def _renew() -> None:
    global _lock
    _lock = threading.Lock()


# A process that is forked during a training does not train.
os.register_at_fork(after_in_child=_renew)


@contextlib.contextmanager
def only_training() -> Iterator[None]:
    """Refuses a second training in this process during the block, in another thread or within the first one.

    The seeds of Keras and the precision policy belong to the process: two trainings at a time would draw from the same
    random numbers, and neither could be repeated.

    Raises:
        TrainingError: a training is under way.
    """
    lock = _lock
    if not lock.acquire(blocking=False):
        raise TrainingError(
            "a training is under way in this process, and two would draw from the same random numbers: wait until it "
            "has ended, or train in another process, as dlexp sweep does"
        )
    try:
        yield
    finally:
        lock.release()
