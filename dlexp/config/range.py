"""Range: the numbers that a config field accepts."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers between two bounds; a side without a bound accepts all finite numbers.

    The bounds are those of JSON Schema (`minimum`, `exclusiveMinimum`, `maximum`, `exclusiveMaximum`).

    Attributes:
        at_least: lower bound, in the range itself.
        above: lower bound, not in the range itself; in place of `at_least`.
        at_most: upper bound, in the range itself.
        below: upper bound, not in the range itself; in place of `at_most`.

    Example:
        >>> share = Range(at_least=0, below=1)
        >>> share.rule, 1.0 in share
        ('at least 0 and below 1', False)
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        assert self.at_least is None or self.above is None, "give at_least or above, not both"
        assert self.at_most is None or self.below is None, "give at_most or below, not both"
        assert self.rule, "give at least one bound"

    def __contains__(self, value: float) -> bool:
        """Returns whether a number is in the range; NaN and infinity never are."""
        return (
            float("-inf") < value < float("inf")
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    @property
    def rule(self) -> str:
        """The range in words: `at least 1`, `from 0 to 2`, `above 0 and below 1`."""
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        ends = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return " and ".join(f"{words} {end}" for words, end in ends.items() if end is not None)

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound on both sides, so that every number in the range is finite."""
        return (self.at_least, self.above) != (None, None) and (self.at_most, self.below) != (None, None)
