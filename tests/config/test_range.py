"""Ranges: what is in them, and how they are put into words."""

import math

import pytest

from dlexp.config.range import Range


@pytest.mark.parametrize(
    ("limits", "rule", "inside", "outside"),
    [
        (Range(at_least=1), "at least 1", [1, 1.5, 10**400], [0, 1 - 1e-9]),
        (Range(above=0), "above 0", [1e-300], [0, -1]),
        (Range(at_most=2), "at most 2", [2, -(10**400)], [2 + 1e-9, 3]),
        (Range(below=1), "below 1", [0, 1 - 1e-9], [1]),
        (Range(at_least=0, at_most=2), "from 0 to 2", [0, 1, 2], [-1, 3]),
        (Range(at_least=0, below=1), "at least 0 and below 1", [0, 0.5], [-1e-9, 1]),
        (Range(above=0, below=1), "above 0 and below 1", [1e-9, 0.5], [0, 1]),
        (Range(above=0, at_most=1), "above 0 and at most 1", [1e-9, 1], [0, 1 + 1e-9]),
    ],
)
def test_range_holds_what_its_rule_says(limits: Range, rule: str, inside: list[float], outside: list[float]) -> None:
    assert limits.rule == rule
    assert all(value in limits for value in inside)
    assert not any(value in limits for value in [*outside, math.nan, math.inf, -math.inf])


@pytest.mark.parametrize("ends", [{}, {"at_least": 0, "above": 0}, {"at_most": 1, "below": 1}])
def test_range_has_one_end_on_a_side_and_one_at_all(ends: dict[str, float]) -> None:
    with pytest.raises(AssertionError, match="give"):
        Range(**ends)


def test_only_a_range_with_both_ends_is_bounded() -> None:
    assert Range(above=0, at_most=1).is_bounded
    assert not Range(at_least=0).is_bounded
    assert not Range(below=1).is_bounded
