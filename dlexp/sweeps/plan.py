"""The plan of a sweep: its space, its search, its objectives. It is stored once; a resumed sweep must agree with it."""

import dataclasses
import json
import random
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dlexp.config.experiment_config import ExperimentConfig, field_names
from dlexp.errors import ConfigError
from dlexp.sweeps.folder import Trial
from dlexp.sweeps.objective import Objective, parse_objectives
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space

Point = Mapping[str, Any]
# The name is that of the folder, which may be renamed. By other objectives the runs are judged again.
_MAY_DIFFER = ("base", "name", "num_points", "objectives")


class Candidates(Protocol):
    """Where points come from: a `Space`, or a list of `Commands`."""

    @property
    def base(self) -> ExperimentConfig:
        """The config of all fields that a point does not set."""

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yields every point in order; raises ConfigError if there are infinitely many."""

    def grid_size(self) -> int | None:
        """Returns the number of points; None if there are infinitely many."""

    def config(self, point: Point) -> ExperimentConfig:
        """Returns the config of a point."""

    def corner_configs(self) -> Iterator[ExperimentConfig]:
        """Yields configs that contain every value of a choice, and both ends of every interval, at least once."""

    def combinations(self, fields: Container[str]) -> Iterator[ExperimentConfig]:
        """Yields configs with every combination of the values of some fields."""

    def label(self, point: Point) -> str:
        """Returns a short text that distinguishes a point from the others."""

    def with_base(self, base: ExperimentConfig) -> "Candidates":
        """Returns the same candidates over another base config."""

    def to_json(self) -> str:
        """Returns text that `from_json` of the same class reads."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """The plan of a sweep.

    Attributes:
        name: name of the sweep and of its folder.
        candidates: where its points come from.
        search: `grid`, or the name of an Optuna sampler.
        num_points: how many points are tried; 0: all points of the grid, or as many as the time allows.
        seeds: trials per point, with the seeds `seed`, `seed + 1`, ...; a point is judged by their mean.
        objectives: what points are compared by; the first one ranks them.
        pruner: name of an Optuna pruner, which ends trials early that are worse than others; or `none`.
        search_seed: seed of the sampler.
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
        """The config that the points modify."""
        return self.candidates.base

    def total_points(self) -> int | None:
        """Returns how many points will be tried; None if only the time limits them."""
        size = self.candidates.grid_size()
        if size is None or (self.search != "grid" and not self.num_points):
            return self.num_points or None
        return min(size, self.num_points or size)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yields the points of a grid in the order they are tried: as given, or shuffled if there is a pruner.

        A pruner lets the first trials pass, and neighbours in a grid are similar: sorted by learning rate, for example,
        each point may be better than all before it, and none would be pruned.
        """
        points = self.candidates.grid()
        if self.pruner == "none":
            return points
        shuffled = list(points)
        random.Random(self.search_seed).shuffle(shuffled)
        return iter(shuffled)

    def configs(self, point: Point) -> list[ExperimentConfig]:
        """Returns the configs of the trials of a point."""
        config = self.candidates.config(point)
        return [config.replace(seed=config.seed + number) for number in range(self.seeds)]

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as JSON values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        objectives = ",".join(objective.spelled() for objective in self.objectives)
        candidates = {"kind": type(self.candidates).__name__, "text": self.candidates.to_json()}
        return values | {"candidates": candidates, "objectives": objectives, "base": self.base.flat()}


def check_same(plan: SweepPlan, stored: Mapping[str, Any]) -> None:
    """Raises ConfigError if the plan of a resumed sweep is another one; more points and other objectives are allowed.

    Args:
        plan: the plan that is wanted now.
        stored: `to_dict` of the plan that the sweep was started with.
    """
    wanted = json.loads(json.dumps(plan.to_dict()))
    stored_base = ExperimentConfig.of(**stored["base"]).flat()  # with the defaults of fields that are new since then
    base = {name for name in wanted["base"] if wanted["base"][name] != stored_base[name]}
    differences = [f"--{name}" for name in sorted(base & {*field_names("changes_result")})]
    flags = {"candidates": "runs_file" if isinstance(plan.candidates, Commands) else "space"}
    differences += [
        f"--{flags.get(name, name)}" for name in wanted if name not in _MAY_DIFFER and wanted[name] != stored.get(name)
    ]
    if differences:
        raise ConfigError(
            f"sweep {plan.name} was started with other values of {', '.join(differences)}: leave them out to resume "
            "it, give another --sweep_name, or give --allow_changes to resume with the new values"
        )


def check_trials(plan: SweepPlan, trials: Sequence[Trial]) -> None:
    """Raises ConfigError if the existing trials of a sweep do not fit its changed plan.

    Args:
        plan: the new plan, with other values than the sweep was started with.
        trials: all trials of the sweep, by number.
    """
    points = {trial.point_number: trial for trial in reversed(trials)}
    grid = plan.grid() if plan.search == "grid" else None
    for _, first in sorted(points.items()):
        fits = _holds(plan.candidates, first.point) if grid is None else next(grid, None) == first.point
        if not fits:
            values = " ".join(f"{name}={value}" for name, value in first.point.items())
            raise ConfigError(
                f"trial {first.number} of sweep {plan.name} ({values}) does not fit the new plan: a grid may only "
                "grow at its end, a new space must contain every tried point; or give another --sweep_name"
            )


def _holds(candidates: Candidates, point: Point) -> bool:
    return isinstance(candidates, Space) and candidates.holds(point)


def read_plan(name: str, stored: Mapping[str, Any]) -> SweepPlan:
    """Reads what `SweepPlan.to_dict` returned.

    Args:
        name: name of the sweep and of its folder.
        stored: the plan as JSON values.
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
