"""Chooses the next point, and the trials to prune: Optuna decides, from the trials in the folder of the sweep.

The Optuna study is kept in memory and built again from the trials at each start. So no second record exists that could
disagree with the folder or be damaged by a kill.
"""

import abc
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from dlexp.errors import unknown_name
from dlexp.sweeps.objective import Objective
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.space.space import Parameter, Space

if TYPE_CHECKING:
    import optuna

_MOST_REPEATS = 50  # of tried points in a row, after which a sampler is taken to have no new one
SAMPLERS = ("random", "tpe", "qmc", "nsgaii")
SEARCHES = ("grid", *SAMPLERS)
PRUNERS = ("none", "median", "halving", "hyperband")
_SEED_STRIDE = 1_000_003  # the sampler of a resumed sweep must not draw again what it drew before


def check_search(search: str, pruner: str) -> None:
    """Raises UnknownNameError for the name of a search or a pruner that does not exist."""
    for kind, name, known in (("search", search, SEARCHES), ("pruner", pruner, PRUNERS)):
        if name not in known:
            raise unknown_name(kind, name, known)


class Search(abc.ABC):
    """Proposes points, one at a time."""

    @abc.abstractmethod
    def next_point(self) -> dict[str, Any] | None:
        """Returns the next point; None when there are no more."""

    @abc.abstractmethod
    def tell(self, point_number: int, values: Mapping[str, float] | None) -> None:
        """Receives the result of a point: the values of the objectives, or None if all its trials failed."""


class GridSearch(Search):
    """Proposes every point of a grid in order.

    Args:
        points: all points of the grid.
        first: number of the first point that was not proposed before.
    """

    def __init__(self, points: Iterator[dict[str, Any]], *, first: int) -> None:
        self._points = itertools.islice(points, first, None)

    def next_point(self) -> dict[str, Any] | None:
        """Returns the next point of the grid."""
        return next(self._points, None)

    def tell(self, point_number: int, values: Mapping[str, float] | None) -> None:
        """Does nothing: a grid does not depend on results."""


class SampledSearch(Search):
    """Proposes the points of an Optuna sampler.

    Args:
        space: the space to draw from.
        plan: names the sampler and the objectives.
        previous: points that were proposed before, in order, with their values; None for a point that has no result.
    """

    def __init__(
        self, space: Space, plan: SweepPlan, previous: Sequence[tuple[Mapping[str, Any], Mapping[str, float] | None]]
    ) -> None:
        optuna = import_optuna()
        self._space, self._objectives = space, plan.objectives
        self._tried: set[str] = set()
        self._numbers: list[int] = []  # of the trial in the study, by number of the point
        seed = plan.search_seed + _SEED_STRIDE * len(previous)
        self._study = optuna.create_study(
            sampler=_build_sampler(plan.search, seed), directions=[objective.direction for objective in plan.objectives]
        )
        for point, values in previous:
            self._add(point, values)

    def next_point(self) -> dict[str, Any] | None:
        """Draws a point that was not tried yet from the sampler; None if all points of the space were tried.

        Where the sampler only repeats itself, the first point of the grid that is left is next.
        """
        optuna = import_optuna()
        size = self._space.grid_size()
        if size is not None and len(self._tried) >= size:
            return None
        for _ in range(_MOST_REPEATS):
            trial = self._study.ask()
            point = self._space.draw(partial(suggest, trial))
            if _spelled(point) not in self._tried:
                self._tried.add(_spelled(point))
                self._numbers.append(trial.number)
                return point
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        left = (point for point in self._space.grid() if _spelled(point) not in self._tried) if size else iter(())
        point_left = next(left, None)
        if point_left is not None:
            self._add(point_left, None)
        return point_left

    def _add(self, point: Mapping[str, Any], values: Mapping[str, float] | None) -> None:
        self._tried.add(_spelled(point))
        self._numbers.append(len(self._study.trials))
        self._study.add_trial(frozen_trial(self._space, point, self._objectives, values))

    def tell(self, point_number: int, values: Mapping[str, float] | None) -> None:
        """Passes the result to the sampler."""
        import optuna

        if values is None:
            self._study.tell(self._numbers[point_number], state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(self._numbers[point_number], [values[objective.name] for objective in self._objectives])


def _spelled(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def frozen_trial(
    space: Space, point: Mapping[str, Any], objectives: Sequence[Objective], values: Mapping[str, float] | None
) -> "optuna.trial.FrozenTrial":
    """Returns a point in Optuna's format: complete if it has values, else running."""
    import optuna

    active = {parameter.name: parameter for parameter in space.active(point) if not parameter.is_fixed}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING if values is None else optuna.trial.TrialState.COMPLETE,
        params={name: _to_optuna(parameter, point[name]) for name, parameter in active.items()},
        distributions={name: _distribution(parameter) for name, parameter in active.items()},
        values=None if values is None else [values[objective.name] for objective in objectives],
    )


def suggest(trial: "optuna.trial.Trial", parameter: Parameter) -> Any:
    """Asks the sampler for a value of a parameter."""
    if parameter.is_finite:
        chosen = trial.suggest_categorical(parameter.name, [_category(value) for value in parameter.values])
        return next(value for value in parameter.values if _category(value) == chosen)
    low, high, kind = cast(Any, parameter.low), cast(Any, parameter.high), parameter.kind
    if kind in ("int", "logint"):
        return trial.suggest_int(parameter.name, low, high, log=kind == "logint")
    return trial.suggest_float(parameter.name, low, high, log=kind == "log")


def build_pruner(name: str, *, epochs: int) -> Any:
    """Builds the Optuna pruner of a name; returns None for `none`.

    `halving` is asynchronous successive halving (Li et al. 2018, https://arxiv.org/abs/1810.05934): a third of the
    trials passes each rung. The first rung is a ninth of the epochs, but not before epoch 3: on the digits, the first
    epoch shows little but the size of the learning rate. `hyperband` runs several brackets with different first rungs
    (Li et al. 2016, https://arxiv.org/abs/1603.06560). `median` prunes trials that are worse than the median of the
    trials at the same epoch.
    """
    if name == "none":
        return None
    pruners = import_optuna().pruners
    if name == "median":
        return pruners.MedianPruner(n_startup_trials=4)
    if name == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=max(3, epochs // 9), reduction_factor=3)
    return pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)


class Pruning:
    """Compares running trials by the objective after each of their epochs.

    Args:
        pruner: the pruner, from `build_pruner`.
        objective: a metric of an epoch.
        previous: trials that ended before: their values by epoch, and whether they trained all epochs.
    """

    def __init__(
        self, pruner: Any, objective: Objective, previous: Sequence[tuple[Mapping[int, float], bool]] = ()
    ) -> None:
        optuna = import_optuna()
        self._objective = objective
        self._study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner, direction=objective.direction
        )
        self._trials: dict[int, Any] = {}
        for values, whole in previous:
            self._add(values, whole=whole)

    def goes_on(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Returns whether a trial continues after an epoch."""
        if trial not in self._trials:
            self._trials[trial] = self._study.ask()
        self._trials[trial].report(metrics[self._objective.name], epoch)
        return not self._trials[trial].should_prune()

    def end(self, trial: int, *, pruned: bool, failed: bool) -> None:
        """Reports the end of a trial to Optuna."""
        states = import_optuna().trial.TrialState
        running = self._trials.pop(trial, None)
        if running is None:
            return
        if failed:
            self._study.tell(running, state=states.FAIL)
        elif pruned:
            self._study.tell(running, state=states.PRUNED)
        else:
            values = self._study.trials[running.number].intermediate_values
            self._study.tell(running, min(values.values(), key=self._objective.cost))

    def _add(self, values: Mapping[int, float], *, whole: bool) -> None:
        """Reports a previous trial again, epoch by epoch, because pruners keep their own record of each epoch."""
        number = -1 - len(self._study.trials)
        for epoch in sorted(values):
            self.goes_on(number, epoch, {self._objective.name: values[epoch]})
        self.end(number, pruned=not whole, failed=False)


def import_optuna() -> Any:
    """Imports Optuna, which takes half a second, and silences its messages."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _build_sampler(name: str, seed: int) -> Any:
    samplers = import_optuna().samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are marked experimental
        if name == "tpe":
            return samplers.TPESampler(seed=seed, constant_liar=True)
        if name == "qmc":
            return samplers.QMCSampler(seed=seed, scramble=True)  # otherwise the seed would change nothing
        return {"random": samplers.RandomSampler, "nsgaii": samplers.NSGAIISampler}[name](seed=seed)


def _distribution(parameter: Parameter) -> Any:
    import optuna

    if parameter.is_finite:
        return optuna.distributions.CategoricalDistribution([_category(value) for value in parameter.values])
    low, high, kind = cast(Any, parameter.low), cast(Any, parameter.high), parameter.kind
    if kind in ("int", "logint"):
        return optuna.distributions.IntDistribution(low, high, log=kind == "logint")
    return optuna.distributions.FloatDistribution(low, high, log=kind == "log")


def _to_optuna(parameter: Parameter, value: Any) -> Any:
    return _category(value) if parameter.is_finite else value


def _category(value: Any) -> Any:
    """Returns a value of a choice in a form that Optuna accepts: lists and mappings as JSON text."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value
