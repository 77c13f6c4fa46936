"""Speeds over batch and micro-batch sizes, from made-up probes."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory import throughput as module
from dlexp.memory.prober import Outcome, Probe
from dlexp.memory.throughput import Speed, measure_speeds, sizes_to_try
from tests.support.found_batches import BUDGET, MIB, measured, not_measured

CONFIG = ExperimentConfig.of(model="mlp")


class FakeProber:
    """A network that is fastest in slices of 16, and that dies with a whole batch of 64."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> "FakeProber":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def measure(self, config: ExperimentConfig, *, whole_run: bool, timed_calls: int) -> Probe:
        passing = config.data.evaluation_batch_size
        if passing == 64:
            return not_measured(Outcome.NO_MEMORY, "needs more than 1 GiB")
        assert timed_calls > 1
        assert not whole_run
        return measured(passing * MIB, images_per_second=1000.0 - abs(passing - 16) + config.data.batch_size / 1024)


@pytest.fixture(autouse=True)
def _fake_prober(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Prober", FakeProber)


def test_speeds_are_sorted_from_fast_to_slow_without_what_failed() -> None:
    speeds = measure_speeds(CONFIG, 64, BUDGET, time_limit_s=1)
    assert speeds[0] == Speed(batch_size=64, micro_batch_size=16, images_per_second=1000.0625, peak_bytes=16 * MIB)
    assert (64, 0) not in [(speed.batch_size, speed.micro_batch_size) for speed in speeds]
    assert all(one.images_per_second >= two.images_per_second for one, two in itertools.pairwise(speeds))


def test_every_measurement_is_reported() -> None:
    lines: list[str] = []
    measure_speeds(CONFIG, 64, BUDGET, time_limit_s=1, report=lines.append)
    assert lines[0] == "mlp, batch_size=64: needs more than 1 GiB"
    assert lines[1] == "mlp, batch_size=64, micro_batch_size=32: 984 images/s, 32.0 MiB"
    assert len(lines) == len(list(sizes_to_try(64)))


def test_sizes_are_halves_of_the_largest() -> None:
    assert list(sizes_to_try(32)) == [(32, 0), (32, 16), (32, 8), (16, 0), (16, 8), (8, 0)]


@given(st.integers(1, 5000))
def test_sizes_are_valid_and_none_is_tried_twice(largest: int) -> None:
    pairs = list(sizes_to_try(largest))
    assert pairs[0] == (largest, 0)
    assert len(set(pairs)) == len(pairs)
    for batch, micro in pairs:
        assert 0 <= micro < batch <= largest
        CONFIG.replace(batch_size=batch, micro_batch_size=micro)
