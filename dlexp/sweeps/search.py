"""Which point is tried next, and which trial is given up: Optuna decides, from what the sweep's folder tells it.

The study lives in memory and is built anew from the trials at each start, so that there is no second record to get out
of step, and none that a kill could damage.
"""

import abc
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from dlexp.errors import unknown_name
from dlexp.sweeps.objective import Objective
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.space.space import Parameter, Space

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("random", "tpe", "qmc", "nsgaii")
SEARCHES = ("grid", *SAMPLERS)
PRUNERS = ("none", "median", "halving", "hyperband")
_SEED_STRIDE = 1_000_003  # the sampler of a resumed sweep must not draw again what it drew before


def check_search(search: str, pruner: str) -> None:
    """Raises UnknownNameError for a search or a pruner that there is not."""
    for kind, name, known in (("search", search, SEARCHES), ("pruner", pruner, PRUNERS)):
        if name not in known:
            raise unknown_name(kind, name, known)


class Search(abc.ABC):
    """Proposes points, one after the other."""

    @abc.abstractmethod
    def next_point(self) -> dict[str, Any] | None:
        """The next point; None when there are no more."""

    @abc.abstractmethod
    def tell(self, point_number: int, values: Mapping[str, float] | None) -> None:
        """What came of a point: the values of the objectives, or None if all its trials have failed."""


class GridSearch(Search):
    """Every point in order.

    Args:
        points: all there are.
        first: number of the first one that was not proposed before.
    """

    def __init__(self, points: Iterator[dict[str, Any]], *, first: int) -> None:
        self._points = itertools.islice(points, first, None)

    def next_point(self) -> dict[str, Any] | None:
        """The next point of the grid."""
        return next(self._points, None)

    def tell(self, point_number: int, values: Mapping[str, float] | None) -> None:
        """A grid does not learn."""


class SampledSearch(Search):
    """Points that a sampler of Optuna proposes.

    Args:
        space: to draw from.
        plan: names the sampler and the objectives.
        former: points that were proposed before, in order, each with its values; None for one that is not done or has
            failed.
    """

    def __init__(
        self, space: Space, plan: SweepPlan, former: Sequence[tuple[Mapping[str, Any], Mapping[str, float] | None]]
    ) -> None:
        optuna = import_optuna()
        self._space, self._objectives = space, plan.objectives
        seed = plan.search_seed + _SEED_STRIDE * len(former)
        self._study = optuna.create_study(
            sampler=_build_sampler(plan.search, seed), directions=[objective.direction for objective in plan.objectives]
        )
        for point, values in former:
            self._study.add_trial(frozen_trial(space, point, plan.objectives, values))

    def next_point(self) -> dict[str, Any] | None:
        """Asks the sampler."""
        trial = self._study.ask()
        return self._space.draw(lambda parameter: suggest(trial, parameter))

    def tell(self, point_number: int, values: Mapping[str, float] | None) -> None:
        """Tells the sampler."""
        import optuna

        if values is None:
            self._study.tell(point_number, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(point_number, [values[objective.name] for objective in self._objectives])


def frozen_trial(
    space: Space, point: Mapping[str, Any], objectives: Sequence[Objective], values: Mapping[str, float] | None
) -> "optuna.trial.FrozenTrial":
    """A point as Optuna has it: complete with its values, else running."""
    import optuna

    active = {parameter.name: parameter for parameter in space.active(point) if not parameter.is_fixed}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.RUNNING if values is None else optuna.trial.TrialState.COMPLETE,
        params={name: _to_optuna(parameter, point[name]) for name, parameter in active.items()},
        distributions={name: _distribution(parameter) for name, parameter in active.items()},
        values=None if values is None else [values[objective.name] for objective in objectives],
    )


def suggest(trial: "optuna.trial.Trial", parameter: Parameter) -> Any:
    """Has the sampler choose a value."""
    if parameter.is_finite:
        chosen = trial.suggest_categorical(parameter.name, [_category(value) for value in parameter.values])
        return next(value for value in parameter.values if _category(value) == chosen)
    low, high, kind = cast(Any, parameter.low), cast(Any, parameter.high), parameter.kind
    if kind in ("int", "logint"):
        return trial.suggest_int(parameter.name, low, high, log=kind == "logint")
    return trial.suggest_float(parameter.name, low, high, log=kind == "log")


def build_pruner(name: str, *, epochs: int) -> Any:
    """The pruner of Optuna; None for `none`.

    `halving` is asynchronous successive halving (Li et al. 2018, https://arxiv.org/abs/1810.05934): a third of the
    trials passes each rung. The first rung is a ninth of the epochs, but not before the third: on the digits, after one
    epoch only the size of the learning rate shows. `hyperband` runs several with different first rungs (Li et al. 2016,
    https://arxiv.org/abs/1603.06560); `median` gives up what is worse than the median at its epoch.
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
    """Compares running trials by the monitored value of their epochs.

    Args:
        pruner: from `build_pruner`.
        objective: a metric of an epoch.
        former: of trials that ended before: values by epoch, and whether they went on to the end.
    """

    def __init__(
        self, pruner: Any, objective: Objective, former: Sequence[tuple[Mapping[int, float], bool]] = ()
    ) -> None:
        optuna = import_optuna()
        self._objective = objective
        self._study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner, direction=objective.direction
        )
        self._trials: dict[int, Any] = {}
        for values, whole in former:
            self._add(values, whole=whole)

    def goes_on(self, trial: int, epoch: int, metrics: Mapping[str, float]) -> bool:
        """The verdict on a trial after an epoch."""
        if trial not in self._trials:
            self._trials[trial] = self._study.ask()
        self._trials[trial].report(metrics[self._objective.name], epoch)
        return not self._trials[trial].should_prune()

    def end(self, trial: int, *, pruned: bool, failed: bool) -> None:
        """A trial has ended."""
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
        """Reports a former trial again, epoch by epoch, as pruners keep notes of their own on that."""
        number = -1 - len(self._study.trials)
        for epoch in sorted(values):
            self.goes_on(number, epoch, {self._objective.name: values[epoch]})
        self.end(number, pruned=not whole, failed=False)


def import_optuna() -> Any:
    """Optuna, without its messages; imported late, as it takes half a second."""
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
    """A value of a choice as Optuna takes it: no list and no mapping."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value
