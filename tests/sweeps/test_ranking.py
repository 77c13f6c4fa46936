"""Which point of a sweep is best: means over seeds, ties, and the Pareto front."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.sweeps.folder import Trial, TrialState
from dlexp.sweeps.objective import Objective, parse_objectives
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.ranking import RankedPoint, mean_values, pareto_front, rank_points
from tests.support.small_sweeps import ended, plan_of

BOTH = parse_objectives("val_accuracy,val_loss")
UNENDED = [TrialState.WAITING, TrialState.RUNNING]


@pytest.fixture
def plan(tmp_path: pathlib.Path) -> SweepPlan:
    return plan_of(tmp_path)


def numbers(points: list[RankedPoint]) -> list[int]:
    return [point.trials[0].number for point in points]


def test_a_point_has_the_mean_of_its_seeds(plan: SweepPlan) -> None:
    assert mean_values([ended(0, 0.25), ended(1, 0.5), ended(2, 0.75)], plan) == {"val_accuracy": 0.5}


def test_failed_and_pruned_trials_do_not_count_in_the_mean(plan: SweepPlan) -> None:
    trials = [ended(0, 0.5), ended(1), ended(2, 0.9, state=TrialState.PRUNED)]
    assert mean_values(trials, plan) == {"val_accuracy": 0.5}


@pytest.mark.parametrize("state", UNENDED)
def test_a_point_has_no_mean_while_one_of_its_trials_has_not_ended(plan: SweepPlan, state: TrialState) -> None:
    assert mean_values([ended(0, 0.5), Trial(1, 0, {}, 1, state)], plan) is None


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.PRUNED])
def test_a_point_has_no_mean_if_none_of_its_trials_has_finished(plan: SweepPlan, state: TrialState) -> None:
    assert mean_values([ended(0, 0.5, state=state)], plan) is None


def test_points_without_a_result_are_not_ranked(plan: SweepPlan) -> None:
    trials = [ended(0), ended(1, 0.9, state=TrialState.PRUNED), ended(2, 0.1), Trial(3, 3, {}, 0)]
    assert numbers(rank_points(trials, plan)) == [2]


def test_trials_of_a_point_are_ranked_as_one_with_those_that_finished(plan: SweepPlan) -> None:
    trials = [ended(0, 0.9, point_number=0), ended(1, point_number=0), ended(2, 0.7, point_number=0), ended(3, 0.85)]
    best, second = rank_points(trials, plan)
    assert best.trials == [trials[3]]
    assert second.trials == [trials[0], trials[2]]


@pytest.mark.parametrize(("objective", "order"), [("val_loss", [1, 2, 0]), ("val_loss:max", [0, 2, 1])])
def test_points_are_ranked_the_way_the_objective_is_better(plan: SweepPlan, objective: str, order: list[int]) -> None:
    trials = [ended(number, 0.5, values={"val_loss": loss}) for number, loss in enumerate([0.3, 0.1, 0.2])]
    by_loss = SweepPlan(name="s", candidates=plan.candidates, objectives=parse_objectives(objective))
    assert numbers(rank_points(trials, by_loss)) == order


def test_of_equal_points_the_first_tried_comes_first_in_whatever_order_they_are_given(plan: SweepPlan) -> None:
    trials = [ended(2, 0.5), ended(0, 0.5), ended(3, 0.6), ended(1, 0.5)]
    assert numbers(rank_points(trials, plan)) == [3, 0, 1, 2]


def test_the_first_of_several_objectives_ranks(plan: SweepPlan) -> None:
    values = [{"val_accuracy": 0.5, "val_loss": 0.1}, {"val_accuracy": 0.9, "val_loss": 0.9}]
    trials = [ended(number, 0.0, values=each) for number, each in enumerate(values)]
    both = SweepPlan(name="s", candidates=plan.candidates, objectives=BOTH)
    assert numbers(rank_points(trials, both)) == [1, 0]


def test_equal_points_are_both_on_the_front() -> None:
    points = [RankedPoint([], {"val_accuracy": 0.5, "val_loss": 0.1})] * 2
    assert pareto_front(points, BOTH) == points


def test_a_point_that_is_equal_in_one_and_worse_in_the_other_is_beaten() -> None:
    better, worse = (RankedPoint([], {"val_accuracy": 0.5, "val_loss": loss}) for loss in (0.1, 0.2))
    assert pareto_front([worse, better], BOTH) == [better]


# Few values, so that there are many ties.
VALUES = st.fixed_dictionaries({item.name: st.integers(0, 4).map(float) for item in BOTH})
POINTS = st.lists(VALUES.map(lambda values: RankedPoint([], values)), max_size=12)


def beats(one: RankedPoint, other: RankedPoint) -> bool:
    """In no objective worse, and better in one."""

    def gain(objective: Objective) -> float:
        difference = one.values[objective.name] - other.values[objective.name]
        return -difference if objective.smaller_is_better else difference

    gains = [gain(item) for item in BOTH]
    return min(gains) >= 0 and max(gains) > 0


@given(POINTS)
def test_no_point_of_the_front_is_beaten_and_every_other_is_by_one_of_the_front(points: list[RankedPoint]) -> None:
    front = pareto_front(points, BOTH)
    assert not any(beats(one, other) for one in points for other in front)
    assert all(any(beats(one, other) for one in front) for other in points if other not in front)


@given(POINTS)
def test_the_front_keeps_the_order_of_the_points(points: list[RankedPoint]) -> None:
    front = pareto_front(points, BOTH)
    assert front == [point for point in points if point in front]
    assert bool(front) == bool(points)
