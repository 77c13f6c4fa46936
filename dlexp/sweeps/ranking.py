"""Ranks the points of a sweep: by the mean over their seeds, or as the Pareto front of several objectives."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlexp.sweeps.folder import Trial, TrialState
from dlexp.sweeps.objective import Objective
from dlexp.sweeps.plan import SweepPlan


@dataclass(frozen=True)
class RankedPoint:
    """A point whose trials have all ended.

    Attributes:
        trials: its finished trials, by number.
        values: mean of each objective over these trials.
    """

    trials: Sequence[Trial]
    values: dict[str, float]


def group_by_point(trials: Iterable[Trial]) -> dict[int, list[Trial]]:
    """Groups trials by the number of their point; the trials of a point differ in their seeds."""
    points: dict[int, list[Trial]] = {}
    for trial in trials:
        points.setdefault(trial.point_number, []).append(trial)
    return points


def mean_values(trials: Sequence[Trial], plan: SweepPlan) -> dict[str, float] | None:
    """Returns the mean objectives over the trials of a point; None unless all have ended and one has finished."""
    finished = [trial for trial in trials if trial.state is TrialState.FINISHED]
    if not finished or not all(trial.state.has_ended for trial in trials):
        return None
    return {
        objective.name: statistics.fmean(trial.values[objective.name] for trial in finished)
        for objective in plan.objectives
    }


def rank_points(trials: Sequence[Trial], plan: SweepPlan) -> list[RankedPoint]:
    """Returns the points that have a result, best first by the first objective; ties stay in the order of trial.

    Of several points that share their runs, as their configs are equal, the first stands for all.
    """
    ranked, runs = [], set()
    for _, of_point in sorted(group_by_point(trials).items()):
        values = mean_values(of_point, plan)
        if values is not None:
            finished = [trial for trial in of_point if trial.state is TrialState.FINISHED]
            shared = tuple(trial.number if trial.reused_from is None else trial.reused_from for trial in finished)
            if shared in runs:
                continue
            runs.add(shared)
            ranked.append(RankedPoint(finished, values))
    first = plan.objectives[0]
    return sorted(ranked, key=lambda point: first.cost(point.values[first.name]))


def pareto_front(points: Sequence[RankedPoint], objectives: Sequence[Objective]) -> list[RankedPoint]:
    """Returns the points that no other point dominates, in their order."""

    def is_dominated(point: RankedPoint) -> bool:
        costs = _costs(point, objectives)
        for rival in points:
            rival_costs = _costs(rival, objectives)
            if rival_costs != costs and all(a <= b for a, b in zip(rival_costs, costs, strict=True)):
                return True
        return False

    return [point for point in points if not is_dominated(point)]


def _costs(point: RankedPoint, objectives: Sequence[Objective]) -> list[float]:
    return [objective.cost(point.values[objective.name]) for objective in objectives]
