"""Statistics over seeds: equal to those of scipy and statsmodels, and blind to names, order and units."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from dlexp.comparison.seeds import (
    Difference,
    difference_of,
    difference_of_resamples,
    holm,
    mean_of,
    seeds_needed,
)

EXACT: Any = {"rel": 1e-12, "abs": 1e-12}
ACCURACIES = st.lists(st.floats(0.5, 1.0), min_size=3, max_size=12)


def by_seed(values: list[float], *, first: int = 0) -> dict[tuple[int, ...], float]:
    return {(first + number,): value for number, value in enumerate(values)}


def ends(difference: Difference) -> tuple[float, float]:
    assert difference.interval is not None
    return difference.interval.low, difference.interval.high


@given(ACCURACIES)
def test_mean_and_its_interval_are_those_of_scipy(values: list[float]) -> None:
    assume(np.ptp(values) > 1e-3)
    found = mean_of(values)
    low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert found.value == pytest.approx(np.mean(values), **EXACT)
    assert found.sd == pytest.approx(np.std(values, ddof=1), **EXACT)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), **EXACT)


@given(ACCURACIES, st.data())
def test_difference_of_equal_seeds_is_the_paired_t_test_of_scipy(a: list[float], data: st.DataObject) -> None:
    b = data.draw(st.lists(st.floats(0.5, 1.0), min_size=len(a), max_size=len(a)))
    assume(np.ptp(np.subtract(a, b)) > 1e-3)
    found, expected = difference_of(by_seed(a), by_seed(b)), stats.ttest_rel(a, b)
    assert found.paired
    assert found.p == pytest.approx(expected.pvalue, **EXACT)
    assert ends(found) == pytest.approx(tuple(expected.confidence_interval(0.95)), **EXACT)


@given(ACCURACIES, ACCURACIES)
def test_difference_of_other_seeds_is_the_welch_test_of_scipy(a: list[float], b: list[float]) -> None:
    assume(np.ptp(a) > 1e-3)
    assume(np.ptp(b) > 1e-3)
    found = difference_of(by_seed(a), by_seed(b, first=100))
    expected = stats.ttest_ind(a, b, equal_var=False)
    assert not found.paired
    assert found.p == pytest.approx(expected.pvalue, **EXACT)
    assert ends(found) == pytest.approx(tuple(expected.confidence_interval(0.95)), **EXACT)


@given(ACCURACIES, ACCURACIES, st.booleans())
def test_swapping_the_settings_flips_the_sign(a: list[float], b: list[float], shares_seeds: bool) -> None:
    length = min(len(a), len(b))
    of_a, of_b = by_seed(a[:length]), by_seed(b[:length], first=0 if shares_seeds else 50)
    there, back = difference_of(of_a, of_b), difference_of(of_b, of_a)
    assert there.value == pytest.approx(-back.value, **EXACT)
    assert there.p == pytest.approx(back.p, **EXACT) if there.p is not None else back.p is None
    if there.interval is not None:
        assert ends(there) == pytest.approx((-ends(back)[1], -ends(back)[0]), **EXACT)


@given(ACCURACIES, st.floats(-3, 3), st.sampled_from([0.01, 1.0, 100.0]), st.randoms(use_true_random=False))
def test_order_of_runs_and_units_change_nothing(
    values: list[float], shift: float, scale: float, random: object
) -> None:
    assume(np.ptp(values) > 1e-3)
    a = by_seed(values)
    b = {seed: value - 0.1 * math.sin(seed[0]) for seed, value in a.items()}
    items = list(a.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    moved = {seed: scale * (value + shift) for seed, value in items}
    found = difference_of(moved, {seed: scale * (value + shift) for seed, value in b.items()})
    expected = difference_of(a, b)
    assert found.p == pytest.approx(expected.p, rel=1e-6)
    assert found.value == pytest.approx(scale * expected.value, rel=1e-6)


def test_two_seeds_give_no_interval_and_no_test() -> None:
    found = difference_of(by_seed([0.9, 0.91]), by_seed([0.8, 0.83]))
    assert (found.interval, found.p, found.method) == (None, None, "none: 2 seeds")
    assert found.value == pytest.approx(0.09)


def test_seeds_that_do_not_vary_give_no_interval() -> None:
    assert mean_of([0.9, 0.9, 0.9]).interval is None
    assert difference_of(by_seed([0.9] * 4), by_seed([0.8] * 4)).p is None


def test_differences_that_vary_by_rounding_alone_give_no_interval() -> None:
    a = by_seed([0.9 + seed / 200 for seed in range(5)])
    b = {seed: value + 0.05 for seed, value in a.items()}
    found = difference_of(a, b)
    assert (found.interval, found.method) == (None, "none: no difference between seeds")


def test_one_seed_has_no_spread() -> None:
    found = mean_of([0.9])
    assert (found.n, found.value, found.sd, found.interval) == (1, 0.9, None, None)


def test_several_comparisons_have_wider_simultaneous_intervals() -> None:
    a, b = by_seed([0.9, 0.92, 0.91, 0.95]), by_seed([0.88, 0.93, 0.9, 0.91])
    found = difference_of(a, b, comparisons=5)
    expected = stats.ttest_rel(list(a.values()), list(b.values())).confidence_interval(0.99)
    assert found.simultaneous is not None
    assert (found.simultaneous.low, found.simultaneous.high) == pytest.approx(tuple(expected), **EXACT)
    assert ends(found) == ends(difference_of(a, b))


def test_folds_have_the_variance_of_nadeau_and_bengio() -> None:
    a, b = by_seed([0.91, 0.93, 0.90, 0.94, 0.92]), by_seed([0.90, 0.90, 0.91, 0.92, 0.89])
    found = difference_of_resamples(a, b, test_share=0.25)
    pairs = np.subtract(list(a.values()), list(b.values()))
    statistic = pairs.mean() / math.sqrt((1 / 5 + 1 / 4) * pairs.var(ddof=1))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(statistic), 4), **EXACT)
    assert found.method == "corrected resampled t"
    paired = difference_of(a, b)
    assert found.p is not None
    assert paired.p is not None
    assert found.p > paired.p


def test_only_folds_that_both_settings_have_are_compared() -> None:
    a, b = by_seed([0.91, 0.93, 0.90, 0.94]), by_seed([0.90, 0.90, 0.91], first=1)
    assert difference_of_resamples(a, b, test_share=0.25).n == (3, 3)


@pytest.mark.parametrize("of", [0.002, 0.005, 0.02])
@pytest.mark.parametrize("shares_seeds", [True, False])
def test_seeds_needed_are_those_of_statsmodels(of: float, shares_seeds: bool) -> None:
    a = by_seed([0.9, 0.92, 0.91, 0.95, 0.93])
    b = by_seed([0.88, 0.93, 0.9, 0.91, 0.92], first=0 if shares_seeds else 10)
    found = difference_of(a, b)
    assert found.sd is not None
    solver = TTestPower() if shares_seeds else TTestIndPower()
    expected = solver.solve_power(effect_size=of / found.sd, alpha=0.05, power=0.8)
    assert seeds_needed(found, of) == max(3, math.ceil(float(expected)))
    assert seeds_needed(found, -of) == seeds_needed(found, of)


def test_no_number_of_seeds_shows_a_difference_of_nothing() -> None:
    found = difference_of(by_seed([0.9, 0.92, 0.91]), by_seed([0.88, 0.93, 0.92]))
    assert seeds_needed(found, 0.0) is None
    assert seeds_needed(found, 1e-9) is None


@given(st.lists(st.floats(0, 1), max_size=8))
def test_p_values_are_adjusted_as_statsmodels_does(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1].tolist() if p_values else []
    assert holm(p_values) == expected
