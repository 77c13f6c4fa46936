"""The plan of a sweep: written and read back, and what a resume may change in it."""

import dataclasses
import json
import pathlib
from contextlib import nullcontext as does_not_raise
from typing import Any

import pytest

from dlexp.errors import ConfigError
from dlexp.sweeps.folder import Trial
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.plan import SweepPlan, check_same, check_trials, read_plan
from tests.support.small_sweeps import commands_plan, drive, ended, plan_of

OTHER: dict[str, Any] = {
    "search": "tpe",
    "num_points": 7,
    "seeds": 3,
    "objectives": parse_objectives("val_loss,test_accuracy:min"),
    "pruner": "halving",
    "search_seed": 5,
}
SPACE = "learning_rate=log(1e-4,0.1); model=choice(mlp,resnet20); resnet20.dropout=choice(0,0.5); image_size=32x48"


@pytest.fixture
def plan(tmp_path: pathlib.Path) -> SweepPlan:
    return plan_of(tmp_path, seeds=2)


def stored(plan: SweepPlan) -> dict[str, Any]:
    """As `sweep.json` gives it back."""
    return dict(json.loads(json.dumps(plan.to_dict())))


def test_a_plan_with_a_space_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, SPACE, **OTHER)
    assert read_plan("s", stored(plan)) == plan


def test_a_plan_with_commands_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    plan = commands_plan(tmp_path, {"image_size": [32, 48], "model_args": {"depth": 3}}, {}, {"seed": 1}, **OTHER)
    assert read_plan("s", stored(plan)) == plan


def test_a_plan_has_the_name_of_its_folder(plan: SweepPlan) -> None:
    assert read_plan("renamed", stored(plan)) == dataclasses.replace(plan, name="renamed")


# What a resume may change.


def changed(plan: SweepPlan, **values: Any) -> SweepPlan:
    """The plan with other config fields in its base."""
    return dataclasses.replace(plan, candidates=plan.candidates.with_base(plan.base.replace(**values)))


def test_a_plan_is_the_same_as_itself(plan: SweepPlan) -> None:
    with does_not_raise():
        check_same(plan, stored(plan))


@pytest.mark.parametrize("values", [{"num_points": 9}, {"name": "renamed"}])
def test_more_points_and_another_name_are_no_other_sweep(plan: SweepPlan, values: dict[str, Any]) -> None:
    with does_not_raise():
        check_same(dataclasses.replace(plan, **values), stored(plan))


@pytest.mark.parametrize(
    "values", [{"store": "moved"}, {"verbose": 2}, {"num_workers": 3}, {"tags": {"a": 1}}, {"experiment": "e"}]
)
def test_fields_that_no_result_depends_on_may_change(plan: SweepPlan, values: dict[str, Any]) -> None:
    with does_not_raise():
        check_same(changed(plan, **values), stored(plan))


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"search_seed": 1}, "--search_seed"),
        ({"search": "tpe"}, "--search"),
        ({"seeds": 1}, "--seeds"),
        ({"pruner": "halving"}, "--pruner"),
    ],
)
def test_another_way_to_search_or_to_judge_is_refused(plan: SweepPlan, values: dict[str, Any], flag: str) -> None:
    with pytest.raises(ConfigError, match=f"sweep s was started with other values of {flag}: leave them out"):
        check_same(dataclasses.replace(plan, **values), stored(plan))


@pytest.mark.parametrize("values", [{"epochs": 3}, {"model": "resnet20"}, {"num_threads": 3}, {"seed": 1}])
def test_fields_that_results_depend_on_are_refused_by_name(plan: SweepPlan, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"other values of --{next(iter(values))}: .* or give --allow_changes"):
        check_same(changed(plan, **values), stored(plan))


@pytest.mark.parametrize("space", ["learning_rate=choice(0.001,0.01)", "learning_rate=log(0.001,0.1); seed=1"])
def test_another_space_is_refused(plan: SweepPlan, space: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="other values of --space:"):
        check_same(plan_of(tmp_path, space, seeds=2), stored(plan))


def test_commands_in_place_of_a_space_are_refused(plan: SweepPlan, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="other values of --runs_file:"):
        check_same(commands_plan(tmp_path, {"seed": 1}, seeds=2), stored(plan))


def test_another_list_of_commands_is_refused_by_its_flag(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="other values of --runs_file:"):
        check_same(commands_plan(tmp_path, {"seed": 1}), stored(commands_plan(tmp_path, {"seed": 2})))


def test_all_differences_are_told_at_once(plan: SweepPlan) -> None:
    other = changed(dataclasses.replace(plan, seeds=5, pruner="median"), epochs=3, batch_size=8)
    with pytest.raises(ConfigError, match="other values of --batch_size, --epochs, --seeds, --pruner:"):
        check_same(other, stored(plan))


def test_a_field_that_a_later_version_added_is_a_difference_only_if_it_is_not_the_default(plan: SweepPlan) -> None:
    previous = stored(plan)
    del previous["base"]["label_smoothing"]
    check_same(plan, previous)
    with pytest.raises(ConfigError, match="--label_smoothing"):
        check_same(changed(plan, label_smoothing=0.1), previous)


# Trials of a sweep that is resumed with other values.

RATES = "learning_rate=choice(0.1,0.2)"
ANY_RATE = "learning_rate=log(0.1,0.2)"


def tried(plan: SweepPlan, count: int) -> list[Trial]:
    points = plan.candidates.grid()
    return [ended(number, 0.5, point=next(points)) for number in range(count)]


@pytest.mark.parametrize("space", [RATES, "learning_rate=choice(0.1,0.2,0.3)"])
def test_a_grid_may_grow_at_its_end(tmp_path: pathlib.Path, space: str) -> None:
    with does_not_raise():
        check_trials(plan_of(tmp_path, space), tried(plan_of(tmp_path, RATES), 2))


def test_any_space_will_do_before_the_first_trial(tmp_path: pathlib.Path) -> None:
    with does_not_raise():
        check_trials(plan_of(tmp_path, "weight_decay=choice(0,0.1)"), [])


@pytest.mark.parametrize(
    "space",
    ["learning_rate=choice(0.2,0.1)", "learning_rate=0.1", f"{RATES}; weight_decay=choice(0,0.1)", "seed=range(5)"],
)
def test_a_grid_in_another_order_or_without_what_was_tried_is_refused(tmp_path: pathlib.Path, space: str) -> None:
    with pytest.raises(ConfigError, match="a grid may only grow at its end"):
        check_trials(plan_of(tmp_path, space), tried(plan_of(tmp_path, RATES), 2))


@pytest.mark.parametrize(
    ("space", "holds"),
    [
        (ANY_RATE, True),
        ("learning_rate=uniform(0.01,1)", True),
        ("learning_rate=choice(0.3,0.2,0.1)", True),
        ("learning_rate=log(0.15,1)", False),
        ("learning_rate=choice(0.1,0.3)", False),
        (f"{ANY_RATE}; weight_decay=uniform(0,1)", False),
        ("weight_decay=uniform(0,1)", False),
    ],
)
def test_a_space_that_is_searched_must_hold_all_that_was_tried(tmp_path: pathlib.Path, space: str, holds: bool) -> None:
    plan = plan_of(tmp_path, space, search="tpe", num_points=9)
    trials = tried(plan_of(tmp_path, RATES), 2)
    with does_not_raise() if holds else pytest.raises(ConfigError, match="a new space must contain every tried point"):
        check_trials(plan, trials)


def test_commands_may_only_grow_at_their_end(tmp_path: pathlib.Path) -> None:
    trials = tried(commands_plan(tmp_path, {"seed": 1}), 1)
    check_trials(commands_plan(tmp_path, {"seed": 1}, {"seed": 2}), trials)
    with pytest.raises(ConfigError, match=r"trial 0 of sweep s \(seed=1\)"):
        check_trials(commands_plan(tmp_path, {"seed": 2}, {"seed": 1}), trials)


def test_another_objective_is_no_other_sweep(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, RATES)
    with does_not_raise():
        check_same(dataclasses.replace(plan, objectives=parse_objectives("val_loss")), stored(plan))


@pytest.mark.parametrize("values", [{}, {"pruner": "median"}, {"num_points": 1}, {"seeds": 3}])
def test_trials_of_the_same_space_fit(tmp_path: pathlib.Path, values: dict[str, Any]) -> None:
    plan = plan_of(tmp_path, RATES, **values)
    _, trials, _ = drive(plan)
    with does_not_raise():
        check_trials(plan, trials)


# Points and trials.


@pytest.mark.parametrize(
    ("space", "values", "total"),
    [
        ("seed=range(6)", {}, 6),
        ("seed=range(6)", {"num_points": 4}, 4),
        ("seed=range(6)", {"num_points": 9}, 6),
        ("seed=range(6)", {"search": "random", "num_points": 9}, 6),
        ("seed=range(6)", {"search": "random", "num_points": 4}, 4),
        ("learning_rate=log(0.01,0.1)", {"search": "tpe", "num_points": 9}, 9),
        ("learning_rate=log(0.01,0.1)", {"search": "tpe"}, None),
    ],
)
def test_total_points_of_a_space(tmp_path: pathlib.Path, space: str, values: dict[str, Any], total: int | None) -> None:
    assert plan_of(tmp_path, space, **values).total_points() == total


@pytest.mark.parametrize(("num_points", "total"), [(0, 3), (2, 2), (9, 3)])
def test_total_points_of_commands(tmp_path: pathlib.Path, num_points: int, total: int) -> None:
    points = [{"seed": seed} for seed in range(3)]
    assert commands_plan(tmp_path, *points, num_points=num_points).total_points() == total


def test_trials_of_a_point_differ_in_their_seed_alone(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=choice(0.1,0.2); seed=choice(3,30)", seeds=3)
    configs = plan.configs({"learning_rate": 0.2, "seed": 3})
    assert [config.seed for config in configs] == [3, 4, 5]
    assert [config.replace(seed=0) for config in configs] == [plan.base.replace(learning_rate=0.2)] * 3


def test_seeds_begin_with_that_of_the_base(tmp_path: pathlib.Path) -> None:
    plan = changed(plan_of(tmp_path, "learning_rate=choice(0.1,0.2)", seeds=2), seed=7)
    assert [config.seed for config in plan.configs({"learning_rate": 0.1})] == [7, 8]
