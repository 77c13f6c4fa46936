"""Pictures of a sweep: which are drawn, and when there are none."""

import dataclasses
import pathlib
from typing import Any

import PIL.Image
import pytest

from dlexp.sweeps.folder import Trial, create_sweep
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.pictures import build_study, draw_pictures
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.ranking import rank_points
from dlexp.sweeps.space.space import Space
from tests.support.small_sweeps import commands_plan, drive, ended, plan_of

MIXED = "learning_rate=log(0.001,0.1); model=choice(mlp,resnet20); resnet20.dropout=choice(0,0.5); batch_size=64"


def trials_of(plan: SweepPlan, *accuracies: float | None) -> list[Trial]:
    """A trial a point of the grid, of those accuracies."""
    points = plan.candidates.grid()
    return [ended(number, each, point=next(points)) for number, each in enumerate(accuracies)]


def draw(plan: SweepPlan, trials: list[Trial]) -> list[str]:
    folder = create_sweep(plan.base.tracking.store, plan.name, plan.to_dict())
    drawn = draw_pictures(folder, plan, trials)
    for path in drawn:
        assert path.parent == folder.path
        with PIL.Image.open(path) as image:
            assert min(image.size) > 200
    assert sorted(drawn) == sorted(folder.path.glob("*.png"))
    return [path.name for path in drawn]


def test_a_sweep_of_two_parameters_has_all_four(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    _, trials, _ = drive(plan)
    assert [path.name for path in draw_pictures(create_sweep(tmp_path, "t", {}), plan, trials)] == [
        "history.png",
        "slices.png",
        "importance.png",
        "parallel.png",
    ]


def test_a_sweep_of_one_parameter_has_no_importance(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "learning_rate=choice(0.1,0.2,0.3); batch_size=64")
    assert draw(plan, trials_of(plan, 0.1, 0.2, 0.3)) == ["history.png", "slices.png"]


def test_categories_conditionals_and_intervals_are_drawn(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, MIXED)
    points: list[dict[str, Any]] = [
        {"model": "mlp"}, {"model": "resnet20", "resnet20.dropout": 0}, {"model": "resnet20", "resnet20.dropout": 0.5}
    ]  # fmt: skip
    trials = [ended(n, n / 4, point={**point, "learning_rate": 0.01 * (n + 1)}) for n, point in enumerate(points)]
    assert "slices.png" in draw(plan, trials)


def test_values_that_are_lists_are_drawn(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "image_size=choice(8,32x48); augment=choice(flip,'')")
    assert "slices.png" in draw(plan, trials_of(plan, 0.1, 0.2, 0.3, 0.4))


def test_results_that_are_all_equal_are_no_trouble(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    assert "history.png" in draw(plan, trials_of(plan, *[0.5] * 6))


def test_points_without_a_result_are_left_out(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path)
    assert draw(plan, [*trials_of(plan, 0.5, None), Trial(2, 2, {}, 0)]) == []


def test_the_points_of_the_study_are_in_the_order_they_were_tried_with_their_means(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, seeds=2)
    _, trials, _ = drive(plan)
    assert isinstance(plan.candidates, Space)
    study = build_study(plan, plan.candidates, rank_points(trials, plan))
    assert [trial.params for trial in study.trials] == list(plan.candidates.grid())
    assert study.trials[2].value == pytest.approx(0.9995)


@pytest.mark.parametrize("objectives", ["val_accuracy,val_loss", "val_accuracy,val_loss,num_parameters"])
def test_several_objectives_have_the_pareto_front_alone(tmp_path: pathlib.Path, objectives: str) -> None:
    plan = plan_of(tmp_path, objectives=parse_objectives(objectives))
    values = {"val_accuracy": 0.5, "val_loss": 0.1, "num_parameters": 1000}
    trials = [dataclasses.replace(item, values={name: value * (1 + item.number) for name, value in values.items()})
              for item in trials_of(plan, *[0.0] * 6)]  # fmt: skip
    assert draw(plan, trials) == ["pareto_front.png"]


def test_more_objectives_than_there_are_axes_have_none(tmp_path: pathlib.Path) -> None:
    names = [f"val_{letter}" for letter in "abcd"]
    plan = plan_of(tmp_path, objectives=parse_objectives(",".join(f"{name}:max" for name in names)))
    trials = [dataclasses.replace(item, values=dict.fromkeys(names, item.number))
              for item in trials_of(plan, *[0.0] * 6)]  # fmt: skip
    assert draw(plan, trials) == []


def test_a_list_of_commands_has_none(tmp_path: pathlib.Path) -> None:
    plan = commands_plan(tmp_path, {"seed": 0}, {"seed": 1})
    assert draw(plan, trials_of(plan, 0.1, 0.2)) == []


@pytest.mark.parametrize("accuracies", [[], [0.5]])
def test_fewer_than_two_points_have_none(tmp_path: pathlib.Path, accuracies: list[float]) -> None:
    plan = plan_of(tmp_path)
    assert draw(plan, trials_of(plan, *accuracies)) == []


def test_a_picture_that_cannot_be_drawn_leaves_the_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no importance of parameters that never varied")

    monkeypatch.setattr("optuna.visualization.matplotlib.plot_param_importances", fail)
    plan = plan_of(tmp_path)
    assert draw(plan, trials_of(plan, 0.1, 0.2, 0.3)) == ["history.png", "slices.png", "parallel.png"]
