"""95 % confidence intervals of accuracies."""

from dataclasses import dataclass

from scipy.stats import binom, binomtest

CONFIDENCE = 0.95
BOOTSTRAP = "percentile bootstrap"
CLOPPER_PEARSON = "Clopper-Pearson"


@dataclass(frozen=True)
class Share:
    """A share of right predictions, with its 95 % confidence interval.

    Attributes:
        value: `right / examples`, in [0, 1].
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        right: number of right predictions.
        examples: number of examples.
        method: `BOOTSTRAP` or `CLOPPER_PEARSON`.
    """

    value: float
    low: float
    high: float
    right: int
    examples: int
    method: str


def share_with_interval(right: int, examples: int) -> Share:
    """Computes the share of right predictions and its 95 % confidence interval.

    The number of right predictions in a bootstrap resample follows a binomial distribution, so no random draws are
    needed: the ends of the percentile interval are quantiles of that distribution, the limit of infinitely many
    resamples. If all predictions are right, or all wrong, every resample is the same and the bootstrap interval has no
    width; then the exact interval of Clopper and Pearson (1934) is used.

    Args:
        right: number of right predictions.
        examples: number of examples, at least one.
    """
    value, tail = right / examples, (1 - CONFIDENCE) / 2
    if 0 < right < examples:
        low, high = (float(binom.ppf(level, examples, value)) / examples for level in (tail, 1 - tail))
        return Share(value, low, high, right, examples, BOOTSTRAP)
    exact = binomtest(right, examples).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return Share(value, float(exact.low), float(exact.high), right, examples, CLOPPER_PEARSON)
