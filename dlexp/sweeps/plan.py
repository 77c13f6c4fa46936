"""What a sweep is: its space, how it is searched and judged. Written once; a resume must agree with it."""

import dataclasses
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dlexp.config.experiment_config import ExperimentConfig, field_names
from dlexp.errors import ConfigError
from dlexp.sweeps.folder import Trial, TrialState
from dlexp.sweeps.objective import Objective, parse_objectives
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space

Point = Mapping[str, Any]
_MAY_DIFFER = ("base", "name", "num_points")  # the name is that of the folder, which may be renamed


class Candidates(Protocol):
    """Where points come from: a `Space`, or a list of `Commands`."""

    @property
    def base(self) -> ExperimentConfig:
        """What configs are where a point says nothing."""

    def grid(self) -> Iterator[dict[str, Any]]:
        """Every point, in order; raises ConfigError if they are without end."""

    def grid_size(self) -> int | None:
        """How many points there are; None if they are without end."""

    def config(self, point: Point) -> ExperimentConfig:
        """The config of a point."""

    def corner_configs(self) -> Iterator[ExperimentConfig]:
        """Configs that hold every value of a choice, and the ends of every interval, at least once."""

    def label(self, point: Point) -> str:
        """What is particular about a point, in a few words."""

    def with_base(self, base: ExperimentConfig) -> "Candidates":
        """The same candidates, of another base."""

    def to_json(self) -> str:
        """Text that `from_json` of the same class reads."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """What a sweep is.

    Attributes:
        name: of the sweep, and of its folder.
        candidates: where its points come from.
        search: `grid`, or a sampler of Optuna.
        num_points: how many points are tried; 0: all of the grid, or as many as the time allows.
        seeds: trials of each point, with `seed`, `seed + 1`, ... of its config; a point is judged by their mean.
        objectives: what a point is judged by; the first one ranks.
        pruner: gives up trials that are not among the better ones; `none`.
        search_seed: of the sampler.
    """

    name: str
    candidates: Candidates
    search: str = "grid"
    num_points: int = 0
    seeds: int = 1
    objectives: tuple[Objective, ...] = (Objective("val_accuracy", smaller_is_better=False),)
    pruner: str = "none"
    search_seed: int = 0

    @property
    def base(self) -> ExperimentConfig:
        """The config that points change."""
        return self.candidates.base

    def total_points(self) -> int | None:
        """How many points will be tried; None if only the time limits them."""
        size = self.candidates.grid_size() if self.search == "grid" else None
        if size is None:
            return self.num_points or None
        return min(size, self.num_points or size)

    def grid(self) -> Iterator[dict[str, Any]]:
        """The points of a grid in the order they are tried: as given; shuffled, where a pruner compares them.

        A pruner lets pass what comes first, and in a grid neighbours are alike: in order of the learning rate, say,
        each point may be better than all before it.
        """
        points = self.candidates.grid()
        if self.pruner == "none":
            return points
        shuffled = list(points)
        random.Random(self.search_seed).shuffle(shuffled)
        return iter(shuffled)

    def configs(self, point: Point) -> list[ExperimentConfig]:
        """The configs of the trials of a point."""
        config = self.candidates.config(point)
        return [config.replace(seed=config.seed + number) for number in range(self.seeds)]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        objectives = ",".join(objective.spelled() for objective in self.objectives)
        candidates = {"kind": type(self.candidates).__name__, "text": self.candidates.to_json()}
        return values | {"candidates": candidates, "objectives": objectives, "base": self.base.flat()}


def check_same(plan: SweepPlan, stored: Mapping[str, Any]) -> None:
    """Raises ConfigError where a sweep is resumed that was another one; more points, and more time, are no difference.

    Args:
        plan: that is wanted.
        stored: `to_dict` of the one that was begun.
    """
    wanted = json.loads(json.dumps(plan.to_dict()))
    former_base = ExperimentConfig.of(**stored["base"]).flat()  # with the defaults of fields that are new since then
    base = {name for name in wanted["base"] if wanted["base"][name] != former_base[name]}
    differences = [f"--{name}" for name in sorted(base & {*field_names("changes_result")})]
    flags = {"candidates": "runs_file" if isinstance(plan.candidates, Commands) else "space", "objectives": "objective"}
    differences += [
        f"--{flags.get(name, name)}" for name in wanted if name not in _MAY_DIFFER and wanted[name] != stored.get(name)
    ]
    if differences:
        raise ConfigError(
            f"sweep {plan.name} was begun with other values of {', '.join(differences)}: leave them out to go on with "
            "it, give another --sweep_name, or --allow_changes to go on with the new ones"
        )


def check_trials(plan: SweepPlan, trials: Sequence[Trial]) -> None:
    """Raises ConfigError where the trials of a sweep cannot be those of the plan that it goes on with.

    Args:
        plan: with other values than the sweep was begun with.
        trials: all there are, by number.
    """
    points = {trial.point_number: trial for trial in reversed(trials)}
    grid = plan.grid() if plan.search == "grid" else None
    for _, first in sorted(points.items()):
        fits = _holds(plan.candidates, first.point) if grid is None else next(grid, None) == first.point
        if not fits:
            values = " ".join(f"{name}={value}" for name, value in first.point.items())
            raise ConfigError(
                f"trial {first.number} of sweep {plan.name} ({values}) would not be tried so now: a grid "
                "may only grow at its end, another space must hold all that was tried; or give another --sweep_name"
            )
    names = {objective.name for objective in plan.objectives}
    for trial in trials:
        if trial.state is TrialState.FINISHED and not names <= trial.values.keys():
            raise ConfigError(
                f"sweep {plan.name} has trials that are judged by {', '.join(trial.values)}: give another --sweep_name "
                "to judge by something else"
            )


def _holds(candidates: Candidates, point: Point) -> bool:
    return isinstance(candidates, Space) and candidates.holds(point)


def read_plan(name: str, stored: Mapping[str, Any]) -> SweepPlan:
    """Reads what `SweepPlan.to_dict` gave.

    Args:
        name: of the sweep, which is that of its folder.
        stored: the plan as JSON has it.
    """
    kinds: dict[str, Any] = {kind.__name__: kind for kind in (Space, Commands)}
    own = {name: stored[name] for name in ("search", "num_points", "seeds", "pruner", "search_seed")}
    return SweepPlan(
        name=name,
        candidates=kinds[stored["candidates"]["kind"]].from_json(
            stored["candidates"]["text"], ExperimentConfig.of(**stored["base"])
        ),
        objectives=parse_objectives(stored["objectives"]),
        **own,
    )
