"""How sure a share of right answers is: its 95 % interval."""

from dataclasses import dataclass

from scipy.stats import binom, binomtest

CONFIDENCE = 0.95
BOOTSTRAP = "percentile bootstrap"
CLOPPER_PEARSON = "Clopper-Pearson"


@dataclass(frozen=True)
class Share:
    """A share with its interval.

    Attributes:
        value: `right / examples`, in [0, 1].
        low: lower end of the 95 % interval.
        high: upper end of it.
        right: how many.
        examples: of how many.
        method: `BOOTSTRAP` or `CLOPPER_PEARSON`.
    """

    value: float
    low: float
    high: float
    right: int
    examples: int
    method: str


def share_with_interval(right: int, examples: int) -> Share:
    """A share of right answers with its 95 % interval.

    The mean of a resample of zeros and ones is binomial, so the percentile bootstrap needs no random draws: its ends
    are quantiles of the binomial distribution, what infinitely many resamples would give. Where all answers are right,
    or all wrong, every resample is the same and the bootstrap knows nothing: Clopper and Pearson (1934) do.

    Args:
        right: how many are right.
        examples: of how many, at least one.
    """
    value, tail = right / examples, (1 - CONFIDENCE) / 2
    if 0 < right < examples:
        low, high = (float(binom.ppf(level, examples, value)) / examples for level in (tail, 1 - tail))
        return Share(value, low, high, right, examples, BOOTSTRAP)
    exact = binomtest(right, examples).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return Share(value, float(exact.low), float(exact.high), right, examples, CLOPPER_PEARSON)
