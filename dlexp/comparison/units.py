"""The unit in which a metric is shown: accuracies in points (hundredths), all others as they are."""

from dataclasses import dataclass

from dlexp.config.monitor import is_share, read_direction


@dataclass(frozen=True)
class Unit:
    """How the numbers of a metric are read and shown.

    Attributes:
        metric: its name.
        smaller_is_better: whether small values are good.
        in_points: whether it is a share in [0, 1], whose differences are given in points: 0.012 is 1.2 points.
    """

    metric: str
    smaller_is_better: bool
    in_points: bool

    @property
    def scale(self) -> float:
        """What differences are multiplied with to be shown."""
        return 100.0 if self.in_points else 1.0

    def number(self, difference: float, *, signed: bool = False) -> str:
        """Returns a difference without its unit."""
        shown = difference * self.scale
        return f"{shown:{'+' if signed else ''}.{2 if self.in_points else 4}f}"

    def spell_difference(self, difference: float, *, signed: bool = False) -> str:
        """Returns a difference with its unit: `1.20 points`, `0.0312`."""
        return self.number(difference, signed=signed) + (" points" if self.in_points else "")


def unit_of(metric: str) -> Unit:
    """Reads a metric, `test_accuracy` or `test_score:max`.

    Raises:
        ConfigError: it is not known whether small or large values are better, or the mode is neither min nor max.
    """
    name, smaller_is_better = read_direction(metric, flag="metric")
    return Unit(name, smaller_is_better, is_share(name))
