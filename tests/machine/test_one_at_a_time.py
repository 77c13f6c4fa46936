"""One training at a time in a process."""

import os
import threading

import pytest

from dlexp.errors import TrainingError
from dlexp.machine.one_at_a_time import only_training


def test_second_training_in_a_thread_is_refused_until_the_first_has_ended() -> None:
    refused: list[str] = []

    def train() -> None:
        try:
            with only_training():
                pass
        except TrainingError as err:
            refused.append(str(err))

    with only_training():
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert "a training is under way in this process" in refused[0]
    train()
    assert len(refused) == 1


def test_training_within_a_training_is_refused() -> None:
    with only_training(), pytest.raises(TrainingError, match="under way"), only_training():
        pass


def test_training_that_fails_makes_room_for_the_next() -> None:
    with pytest.raises(ZeroDivisionError), only_training():
        raise ZeroDivisionError
    with only_training():
        pass


def test_process_that_is_forked_during_a_training_may_train() -> None:
    with only_training():
        child = os.fork()
        if child == 0:
            try:
                with only_training():
                    os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
