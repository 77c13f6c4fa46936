"""Trials that would have several batch sizes, or another one than their experiment, are refused before the first."""

import pathlib
import uuid
from typing import Any

import pytest

from dlexp.errors import ConfigError
from dlexp.runs.batch_sizes import claim_batch_size
from dlexp.runs.run import Status, create_run
from dlexp.sweeps.batch_size_check import check_batch_sizes
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space
from tests.support.small_sweeps import base_of, commands_plan

SEVERAL = (
    "trials of sweep 's' have batch_size=16 and 32, so they cannot be compared: an epoch has another number of steps "
    "then, and a learning rate another meaning; give one --batch_size, or --allow_batch_size_change"
)


def plan_over(store: pathlib.Path, space: str = "seed=range(2)", **base: Any) -> SweepPlan:
    return SweepPlan(name="s", candidates=Space.parse(space, base_of(store, **base)))


def finish_one(store: pathlib.Path, batch_size: int, *, sweep: str = "") -> None:
    config = base_of(store, batch_size=batch_size)
    run = create_run(store, uuid.uuid4().hex, name="run", config=config)
    claim_batch_size(run, config, sweep=sweep)
    run.update(status=Status.FINISHED)


@pytest.mark.parametrize("space", ["batch_size=choice(32,16)", "batch_size=int(16,32)", "batch_size=range(16,33)"])
def test_a_space_that_varies_the_batch_size_is_refused(tmp_path: pathlib.Path, space: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_batch_sizes(plan_over(tmp_path, space))
    assert str(caught.value).startswith("trials of sweep 's' have batch_size=16 and ")


def test_commands_with_several_batch_sizes_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_batch_sizes(commands_plan(tmp_path, {"batch_size": 16}, {"batch_size": 32}))
    assert str(caught.value) == SEVERAL


def test_several_batch_sizes_can_be_allowed(tmp_path: pathlib.Path) -> None:
    finish_one(tmp_path, 64)
    check_batch_sizes(plan_over(tmp_path, "batch_size=choice(16,32)", allow_batch_size_change=True))


def test_trials_in_several_experiments_have_one_batch_size_too(tmp_path: pathlib.Path) -> None:
    points = {"batch_size": 16, "experiment": "a"}, {"batch_size": 32, "experiment": "b"}
    with pytest.raises(ConfigError, match="have batch_size=16 and 32"):
        check_batch_sizes(SweepPlan(name="s", candidates=Commands(base_of(tmp_path), list(points))))


def test_one_batch_size_in_the_space_is_that_of_the_trials(tmp_path: pathlib.Path) -> None:
    finish_one(tmp_path, 32)
    check_batch_sizes(plan_over(tmp_path, "batch_size=32"))
    with pytest.raises(ConfigError, match="experiment 'dlexp' trains with batch_size=32, and runs with batch_size=64"):
        check_batch_sizes(plan_over(tmp_path))


def test_a_resumed_sweep_keeps_the_batch_size_of_its_trials(tmp_path: pathlib.Path) -> None:
    finish_one(tmp_path, 32, sweep="s")
    check_batch_sizes(plan_over(tmp_path, batch_size=32))
    with pytest.raises(ConfigError, match="sweep 's' trains with batch_size=32"):
        check_batch_sizes(plan_over(tmp_path, batch_size=64, experiment="other"))
