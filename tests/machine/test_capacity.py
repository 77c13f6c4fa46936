"""Work is shared among the cores that a process may use, not among all that the machine has."""

import os

import pytest

from dlexp.datasets.parallelism import count_workers
from dlexp.machine.capacity import count_cores


@pytest.fixture
def machine_of_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them may be used."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {8, 9})


@pytest.mark.usefixtures("machine_of_64_cores")
def test_only_cores_that_may_be_used_count() -> None:
    assert count_cores() == 2


@pytest.mark.usefixtures("machine_of_64_cores")
@pytest.mark.parametrize(("asked", "workers"), [(0, 2), (1, 1), (3, 3)])
def test_workers_are_as_many_as_asked_for_or_one_a_core(asked: int, workers: int) -> None:
    assert count_workers(asked) == workers
