"""The interval of a share of right answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from dlexp.evaluation.intervals import BOOTSTRAP, CLOPPER_PEARSON, share_with_interval


@given(st.integers(1, 100_000).flatmap(lambda examples: st.tuples(st.integers(0, examples), st.just(examples))))
def test_interval_contains_the_share_and_lies_in_0_to_1(counts: tuple[int, int]) -> None:
    right, examples = counts
    share = share_with_interval(right, examples)
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.low < share.high


def test_interval_is_what_drawn_resamples_come_to() -> None:
    answers = np.repeat([1.0, 0.0], [320, 40])
    drawn = bootstrap((answers,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    share = share_with_interval(320, 360)
    assert share.method == BOOTSTRAP
    assert (share.low, share.high) == pytest.approx((drawn.low, drawn.high), abs=0.004)


@pytest.mark.parametrize(("right", "bound"), [(50, 0.9289), (0, 0.0711)])
def test_interval_has_a_width_where_all_answers_are_right_or_wrong(right: int, bound: float) -> None:
    share = share_with_interval(right, 50)
    assert share.method == CLOPPER_PEARSON
    assert bound == pytest.approx(share.low if right else share.high, abs=1e-4)
