"""The verdict on two settings: better, worse, equal within a margin, or undecided, in words and as an exit code."""

import enum
from dataclasses import dataclass

from dlexp.comparison.examples import ExampleDifference
from dlexp.comparison.seeds import CONFIDENCE, Difference, seeds_needed
from dlexp.comparison.units import Unit

_LIKELY = 1 - CONFIDENCE


class Outcome(enum.StrEnum):
    """What a comparison shows of A, compared with B."""

    BETTER = "better"
    EQUAL = "equal within the margin"
    WORSE = "worse"
    UNDECIDED = "undecided"


EXIT_CODES = {Outcome.BETTER: 0, Outcome.EQUAL: 10, Outcome.WORSE: 11, Outcome.UNDECIDED: 12}


@dataclass(frozen=True)
class Verdict:
    """A verdict on A, compared with B.

    Attributes:
        outcome: in a word.
        sentence: for people, with the numbers and what would settle an open question.
        seeds: how many seeds of each setting would show the difference, or the margin if there is one; None if unknown.
    """

    outcome: Outcome
    sentence: str
    seeds: int | None


def judge(a: str, b: str, difference: Difference, unit: Unit, *, margin: float, adjusted_p: float | None) -> Verdict:
    """Judges A against B.

    Args:
        a: name of the setting.
        b: name of the setting that it is compared with.
        difference: A - B.
        unit: of the metric.
        margin: difference that does not matter, in the units of the metric; 0: every difference does.
        adjusted_p: of the difference, adjusted for all comparisons that are judged together.
    """
    outcome = _outcome(difference, unit, margin, adjusted_p)
    needed = seeds_needed(difference, margin or difference.value)
    amount = unit.spell_difference(abs(difference.value))
    which = _describe(difference, unit, adjusted_p)
    match outcome:
        case Outcome.BETTER:
            sentence = f"{a} is better than {b} by {amount} {which}"
        case Outcome.WORSE:
            sentence = f"{a} is worse than {b} by {amount} {which}"
        case Outcome.EQUAL:
            sentence = f"{a} and {b} are equal within {unit.spell_difference(margin)} {which}"
        case _:
            sentence = f"{a} and {b} cannot be told apart {which}{_what_would_settle(difference, unit, margin, needed)}"
    return Verdict(outcome, sentence, needed)


def _outcome(difference: Difference, unit: Unit, margin: float, adjusted_p: float | None) -> Outcome:
    if difference.simultaneous is None or adjusted_p is None:
        return Outcome.UNDECIDED
    if margin and difference.simultaneous.is_within(margin):
        return Outcome.EQUAL
    if adjusted_p >= _LIKELY:
        return Outcome.UNDECIDED
    return Outcome.BETTER if (difference.value < 0) == unit.smaller_is_better else Outcome.WORSE


def _describe(difference: Difference, unit: Unit, adjusted_p: float | None) -> str:
    n_a, n_b = difference.n
    seeds = f"{n_a} seeds" if n_a == n_b else f"{n_a} and {n_b} seeds"
    if difference.interval is None:
        return f"({seeds}, difference {unit.spell_difference(difference.value, signed=True)}, no interval)"
    low, high = (unit.number(end, signed=True) for end in (difference.interval.low, difference.interval.high))
    corrected = "" if adjusted_p in (None, difference.p) else f", p = {adjusted_p:.2g} corrected for all comparisons"
    return f"(difference 95 % {low} to {high}; {seeds}, {difference.method}{corrected})"


def _what_would_settle(difference: Difference, unit: Unit, margin: float, needed: int | None) -> str:
    if needed is None:
        return ": train both with --seeds=5"
    of = unit.spell_difference(abs(margin or difference.value))
    return f": about {needed} seeds of each would show a difference of {of}"


def judge_checkpoints(a: str, b: str, value: float, found: ExampleDifference | None, unit: Unit) -> Verdict:
    """Judges two trainings with one seed each; it never says that a setting is better.

    Args:
        a: name of the setting of the first.
        b: name of the setting of the second.
        value: difference of the metric, A - B.
        found: how they differ on the examples of a split; None without predictions.
        unit: of the metric.
    """
    advice = "one seed cannot show which setting is better: train both with --seeds=5"
    if found is None:
        sentence = f"{a} and {b} differ by {unit.spell_difference(value, signed=True)}; {advice}"
    else:
        low, high = (unit.number(end, signed=True) for end in (found.interval.low, found.interval.high))
        net = found.only_a - found.only_b
        more = f"{abs(net)} {'more' if net >= 0 else 'fewer'}"
        sentence = (
            f"the checkpoint of {a} is right on {more} of {found.examples:,} examples than that of {b} "
            f"({unit.spell_difference(found.value, signed=True)}, 95 % {low} to {high}; McNemar p = {found.p:.3g}); "
            f"these are two trainings, not two settings: {advice}"
        )
    return Verdict(Outcome.UNDECIDED, sentence, None)
