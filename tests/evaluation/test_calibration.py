"""Calibration errors, and the temperature that mends them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from dlexp.evaluation.calibration import BINS, fit_temperature, measure_calibration


def draw(seed: int, *, examples: int, classes: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and `float32` logits of a model that knows something."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    logits = rng.normal(size=(examples, classes)) + 2 * np.eye(classes)[labels]
    return labels, (scale * logits).astype(np.float32)


MODELS = st.builds(
    draw, st.integers(0, 2**32 - 1), examples=st.integers(1, 40), classes=st.integers(2, 12), scale=st.floats(0, 1000)
)


@given(MODELS)
def test_errors_lie_in_their_ranges(model: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = model
    measured = measure_calibration(labels, logits)
    assert 0 <= measured.expected_error <= measured.maximum_error + 1e-12
    assert measured.maximum_error <= 1
    assert 0 <= measured.brier <= 2
    assert measured.nll >= 0
    assert (measured.counts.sum(), len(measured.counts)) == (len(labels), BINS)


@given(MODELS)
@settings(max_examples=50)
def test_temperature_never_raises_the_nll_of_what_it_was_fitted_on(model: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = model
    temperature = fit_temperature(labels, logits)
    calibrated = measure_calibration(labels, logits, temperature=temperature)
    assert calibrated.nll <= measure_calibration(labels, logits).nll
    assert 0.05 <= temperature <= 20


@given(st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]), min_size=1, max_size=5, unique=True))
def test_error_of_what_is_as_often_right_as_it_says_is_zero(confidences: list[float]) -> None:
    right = np.concatenate([np.arange(10) < round(10 * confidence) for confidence in confidences])
    confidence = np.repeat(confidences, 10)
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    measured = measure_calibration(np.where(right, 0, 1), logits)
    assert measured.expected_error == pytest.approx(0, abs=1e-9)


def test_error_of_two_bins_is_their_mean_by_the_number_of_examples() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.6])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    measured = measure_calibration(np.array([0, 0, 1, 1]), logits)
    gaps = abs(2 / 3 - 0.9), abs(0 - 0.6)
    assert measured.expected_error == pytest.approx((3 * gaps[0] + gaps[1]) / 4)
    assert measured.maximum_error == pytest.approx(gaps[1])


def test_brier_and_nll_are_those_of_scikit_learn() -> None:
    labels, logits = draw(0, examples=200, classes=4, scale=1.0)
    measured, probabilities = measure_calibration(labels, logits), softmax(logits.astype(float), axis=1)
    assert measured.brier == pytest.approx(brier_score_loss(labels, probabilities, labels=range(4)))
    assert measured.nll == pytest.approx(log_loss(labels, probabilities, labels=range(4)))


def test_temperature_of_logits_that_were_made_too_large_is_what_they_were_made_larger_by() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50_000, 3))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn with the probabilities softmax(logits)
    assert fit_temperature(labels, 4 * logits) == pytest.approx(4, rel=0.03)
