"""The best points of a sweep, for a training with fresh seeds."""

import pathlib
from typing import Any

import pytest

from dlexp.errors import ConfigError
from dlexp.sweeps.confirmation import best_points
from dlexp.sweeps.plan import SweepPlan
from tests.support.small_sweeps import begin, ended, plan_of

RATES = {0: 0.001, 1: 0.01, 2: 0.1}


def finished(plan: SweepPlan, *scores: tuple[dict[str, Any], int, float]) -> Any:
    """The folder of a sweep whose trials have these points, seeds and accuracies."""
    folder = begin(plan)
    for number, (point, seed, accuracy) in enumerate(scores):
        folder.write_trial(ended(number, accuracy, point=point, seed=seed, point_number=number))
    return folder


def test_best_points_come_first_with_a_seed_that_no_trial_had(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    scores = [({"learning_rate": rate, "weight_decay": 0.0}, 4, 0.5 + number) for number, rate in RATES.items()]
    found = best_points(finished(plan, *scores), plan, top=2)
    assert [point["learning_rate"] for point in found.grid()] == [0.1, 0.01]
    assert found.base.seed == 5
    assert {config.seed for config in found.corner_configs()} == {5}


def test_points_that_differ_in_their_seed_alone_are_one(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "seed=range(3)")
    found = best_points(finished(plan, *(({"seed": seed}, seed, 0.5) for seed in range(3))), plan, top=3)
    assert found.grid_size() == 1
    assert found.base.seed == 3


def test_sweep_without_a_result_is_refused(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(ConfigError, match="sweep s has no finished trial to confirm"):
        best_points(begin(plan), plan, top=3)
