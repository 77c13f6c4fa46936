"""Two checkpoints on the same examples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from dlexp.comparison.examples import compare_examples

ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


@given(ANSWERS)
def test_p_is_the_exact_mcnemar_test_of_statsmodels(answers: list[tuple[bool, bool]]) -> None:
    a, b = np.array(answers).T
    found = compare_examples(a, b)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-12)
    assert (found.only_a, found.only_b) == (table[0][1], table[1][0])
    assert found.value == pytest.approx(a.mean() - b.mean(), abs=1e-12)


@given(ANSWERS)
def test_interval_holds_the_difference_and_flips_with_the_checkpoints(answers: list[tuple[bool, bool]]) -> None:
    a, b = np.array(answers).T
    there, back = compare_examples(a, b), compare_examples(b, a)
    assert there.interval.low <= there.value <= there.interval.high
    assert there.value == -back.value
    assert there.interval.low == pytest.approx(-back.interval.high, abs=0.05)


def test_interval_is_the_bca_bootstrap_of_scipy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random(300) < 0.9, rng.random(300) < 0.85
    differences = a.astype(float) - b.astype(float)
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=4999, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    found = compare_examples(a, b).interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_equal_answers_leave_room_for_what_so_few_examples_cannot_show() -> None:
    right = np.ones(100, bool)
    found = compare_examples(right, right)
    limit = 1 - 0.025 ** (1 / 100)  # Clopper and Pearson, none of 100
    assert (found.p, found.value) == (1.0, 0.0)
    assert (found.interval.low, found.interval.high) == pytest.approx((-limit, limit))
