"""The objectives of a sweep: metrics of finished runs, each to be minimized or maximized."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config.monitor import read_direction
from dlexp.config.spelling import parse_names
from dlexp.errors import ConfigError


@dataclass(frozen=True)
class Objective:
    """A number of a finished run that trials are compared by.

    Attributes:
        name: a metric of the best epoch, a `test_*` metric, or a fact such as `num_parameters`.
        smaller_is_better: whether it is minimized.
    """

    name: str
    smaller_is_better: bool

    @property
    def direction(self) -> str:
        """`minimize` or `maximize`, as Optuna spells it."""
        return "minimize" if self.smaller_is_better else "maximize"

    def cost(self, value: float) -> float:
        """Returns the value as a cost: smaller is better."""
        return value if self.smaller_is_better else -value

    def spelled(self) -> str:
        """Returns the text that `parse_objectives` reads."""
        return f"{self.name}:{'min' if self.smaller_is_better else 'max'}"


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Reads `val_accuracy`, `val_loss:min` or several joined by commas.

    Raises:
        ConfigError: no name is given, a name is given twice, a mode is neither min nor max, or none is given for a
            metric that dlexp does not know.
    """
    objectives = tuple(Objective(*read_direction(part, flag="objective")) for part in parse_names(text))
    names = [objective.name for objective in objectives]
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"--objective={text} must name one metric, or several different ones joined by commas")
    return objectives


def values_of_run(row: Mapping[str, Any], objectives: Sequence[Objective]) -> dict[str, float]:
    """Returns the values of a run's objectives.

    Args:
        row: the run, as `describe_run` returns it.
        objectives: the objectives to look up.

    Raises:
        ConfigError: the run has no number of that name.
    """
    missing = [objective.name for objective in objectives if not _is_number(row.get(objective.name))]
    if missing:
        known = sorted(name for name, value in row.items() if _is_number(value))
        raise ConfigError(f"the run has no value for the objective {', '.join(missing)}: it has {', '.join(known)}")
    return {objective.name: float(row[objective.name]) for objective in objectives}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
