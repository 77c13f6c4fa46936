"""Means over seeds, differences between settings, and how many seeds show a difference.

All intervals are t intervals. A bootstrap over few seeds is far too narrow: of nominal 95 % it covers 75 % with three
seeds. A rank test can never find a difference with fewer than six.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
LEAST_FOR_INTERVAL = 3  # with two seeds, a half width is nine standard deviations
_POWER = 0.8
_ROUNDING = 1e-9
Repeat = tuple[int, ...]  # the seed of a run, or its seed, split seed and fold
_MOST_SEEDS = 10_000


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval, in the units of the metric."""

    low: float
    high: float

    def is_within(self, margin: float) -> bool:
        """Whether all of it is at most `margin` from zero."""
        return -margin <= self.low and self.high <= margin


@dataclass(frozen=True)
class Mean:
    """The mean of a metric over the seeds of a setting.

    Attributes:
        n: number of seeds.
        value: the mean.
        sd: standard deviation of one seed, with n - 1; None for one seed.
        interval: t interval of the mean; None for fewer than three seeds, or if all are equal.
        least: smallest value.
        greatest: largest value.
    """

    n: int
    value: float
    sd: float | None
    interval: Interval | None
    least: float
    greatest: float


@dataclass(frozen=True)
class Difference:
    """The difference of a metric between two settings, A - B, for new seeds and the same test examples.

    Attributes:
        value: difference of the means.
        interval: of the difference; None for fewer than three seeds in a setting, or if nothing varies.
        simultaneous: the interval of each of several comparisons that hold all at once with 95 % (Bonferroni).
        p: two-sided, for no difference; None where there is no interval.
        method: how interval and p were computed, as text for people.
        sd: standard deviation: of the difference of a pair if the seeds are paired, otherwise of one seed, pooled.
        paired: whether both settings have the same seeds.
        n: number of seeds of A and of B.
    """

    value: float
    interval: Interval | None
    simultaneous: Interval | None
    p: float | None
    method: str
    sd: float | None
    paired: bool
    n: tuple[int, int]


def mean_of(values: Sequence[float]) -> Mean:
    """Computes the mean over seeds, its spread and its interval; at least one value, all finite."""
    numbers = np.asarray(values, np.float64)
    n, varies = len(numbers), _varies(numbers)
    interval = None
    if n >= LEAST_FOR_INTERVAL and varies:
        interval = _interval(stats.ttest_1samp(numbers, 0.0).confidence_interval(CONFIDENCE))
    sd = float(numbers.std(ddof=1)) if n > 1 else None
    return Mean(n, float(numbers.mean()), sd, interval, float(numbers.min()), float(numbers.max()))


def difference_of(a: Mapping[Repeat, float], b: Mapping[Repeat, float], *, comparisons: int = 1) -> Difference:
    """Computes the difference A - B.

    The seeds are paired if and only if both settings have the same ones: their trainings then share initial weights and
    order of examples. The rule is fixed before the values are seen.

    Args:
        a: values of the first setting by seed; at least one, all finite.
        b: values of the second setting by seed; at least one, all finite.
        comparisons: how many differences are judged together.
    """
    if a.keys() == b.keys():
        return _paired(a, b, comparisons, test_share=0.0)
    return _welch(np.array(list(a.values())), np.array(list(b.values())), comparisons)


def difference_of_resamples(
    a: Mapping[Repeat, float], b: Mapping[Repeat, float], *, test_share: float, comparisons: int = 1
) -> Difference:
    """Computes the difference A - B over folds or resplits, whose training sets overlap, by the corrected t test.

    The values of overlapping training sets vary less than those of independent ones, so the variance of the mean is
    `(1 / n + test / train) * variance` in place of `variance / n` (Nadeau and Bengio 2003,
    https://doi.org/10.1023/A:1024068626366).

    Args:
        a: values of the first setting by fold or split seed.
        b: values of the second setting; only repeats that both have are compared.
        test_share: examples in a test split by those in a training split, `1 / (k - 1)` for k folds.
        comparisons: how many differences are judged together.
    """
    return _paired(a, b, comparisons, test_share=test_share)


def seeds_needed(difference: Difference, of: float) -> int | None:
    """How many seeds of each setting show a difference of the size `of` in four of five comparisons; None if unknown.

    Args:
        difference: gives the spread and whether the seeds are paired.
        of: in the units of the metric; its sign does not matter.
    """
    from statsmodels.stats.power import TTestIndPower, TTestPower  # takes half a second to import

    if not difference.sd or not of or max(difference.n) < LEAST_FOR_INTERVAL:
        return None
    test = TTestPower() if difference.paired else TTestIndPower()
    name = "nobs" if difference.paired else "nobs1"

    effect = abs(of) / difference.sd

    def is_enough(n: int) -> bool:
        return bool(test.power(effect_size=effect, alpha=1 - CONFIDENCE, **{name: n}) >= _POWER)

    low, high = LEAST_FOR_INTERVAL - 1, LEAST_FOR_INTERVAL
    while not is_enough(high):
        low, high = high, 2 * high
        if high > _MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values of several comparisons by Holm's method: in 95 % of cases, none of them finds what is not there.

    Args:
        p_values: of the comparisons, in any order.
    """
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def _paired(a: Mapping[Repeat, float], b: Mapping[Repeat, float], comparisons: int, *, test_share: float) -> Difference:
    common = sorted(a.keys() & b.keys())
    pairs = np.array([a[repeat] - b[repeat] for repeat in common])
    n, sd = len(pairs), _sd(pairs)
    value = float(pairs.mean()) if n else math.nan
    if n < LEAST_FOR_INTERVAL or not _varies(pairs, than=max(abs(a[repeat]) for repeat in common)):
        return Difference(value, None, None, None, _too_few(n), sd, True, (n, n))
    assert sd is not None  # there are three pairs or more
    error = sd * math.sqrt(1 / n + test_share)
    interval, simultaneous = (
        _interval(stats.t.interval(confidence, n - 1, loc=value, scale=error))
        for confidence in (CONFIDENCE, _simultaneous(comparisons))
    )
    p = 2 * float(stats.t.sf(abs(value) / error, n - 1))
    method = "corrected resampled t" if test_share else "paired t"
    return Difference(value, interval, simultaneous, p, method, sd, True, (n, n))


def _welch(a: np.ndarray, b: np.ndarray, comparisons: int) -> Difference:
    n, value = (len(a), len(b)), float(a.mean() - b.mean())
    least = min(n)
    if not (_varies(a) or _varies(b)):
        return Difference(value, None, None, None, _too_few(least), None, False, n)
    sd = math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2) if least > 1 else None
    if least < LEAST_FOR_INTERVAL or not sd:
        return Difference(value, None, None, None, _too_few(least), sd, False, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one of the settings hardly varies, which is right
        test = stats.ttest_ind(a, b, equal_var=False)
    interval, simultaneous = (
        _interval(test.confidence_interval(confidence)) for confidence in (CONFIDENCE, _simultaneous(comparisons))
    )
    return Difference(value, interval, simultaneous, float(test.pvalue), "Welch's t", sd, False, n)


def _varies(values: np.ndarray, *, than: float = 0.0) -> bool:
    """Whether values differ by more than rounding, of themselves or of numbers as large as `than`."""
    return bool(np.ptp(values) > _ROUNDING * max(than, np.abs(values).max()))


def _simultaneous(comparisons: int) -> float:
    return 1 - (1 - CONFIDENCE) / comparisons


def _too_few(n: int) -> str:
    return f"none: {n} seeds" if n < LEAST_FOR_INTERVAL else "none: no difference between seeds"


def _sd(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _interval(ends: tuple[float, float]) -> Interval:
    low, high = ends
    return Interval(float(low), float(high))
