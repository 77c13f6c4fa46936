"""Calibration: whether probabilities match how often the model is right, and the temperature that corrects them.

Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import calibration_curve

BINS = 15
_LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))  # outside only if all answers are right, or all wrong


@dataclass(frozen=True)
class Calibration:
    """How well the predicted probabilities match how often the predictions are right.

    Attributes:
        accuracy: `(BINS,)`, share of right predictions in each of 15 confidence bins of equal width; NaN if empty.
        confidence: `(BINS,)`, mean confidence in each bin; NaN if empty.
        counts: `int` `(BINS,)`, number of examples in each bin.
        expected_error: ECE: mean over all examples of |accuracy - confidence| of their bin.
        maximum_error: MCE: the largest of these differences.
        brier: mean over all examples of the sum over the classes of (probability - truth)^2 (Brier 1950), in [0, 2].
        nll: mean of -log(probability of the true class), natural logarithm.
    """

    accuracy: np.ndarray
    confidence: np.ndarray
    counts: np.ndarray
    expected_error: float
    maximum_error: float
    brier: float
    nll: float


def measure_calibration(labels: np.ndarray, logits: np.ndarray, *, temperature: float = 1.0) -> Calibration:
    """Measures the calibration of softmax(logits / temperature).

    Args:
        labels: `int` `(n,)`, n > 0.
        logits: finite `(n, num_classes)`.
        temperature: the logits are divided by it.
    """
    log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    probabilities = np.exp(log_probabilities)
    right = probabilities.argmax(axis=1) == labels
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    # The same bins as calibration_curve uses; it does not return the number of examples in each.
    inner_edges = np.linspace(0.0, 1.0, BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(inner_edges, confidence), minlength=BINS)
    curve = calibration_curve(right, confidence, n_bins=BINS, pos_label=True)
    gaps = np.abs(curve[0] - curve[1])
    in_bins = np.full((2, BINS), np.nan)
    in_bins[:, counts > 0] = curve
    truth = np.eye(logits.shape[1])[labels]
    return Calibration(
        accuracy=in_bins[0],
        confidence=in_bins[1],
        counts=counts,
        expected_error=float(np.average(gaps, weights=counts[counts > 0])),
        maximum_error=float(gaps.max()),
        brier=float(np.mean(np.sum((probabilities - truth) ** 2, axis=1))),
        nll=_mean_nll(labels, log_probabilities),
    )


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Fits the temperature T, between 0.05 and 20, for which softmax(logits / T) has the smallest NLL.

    scikit-learn has temperature scaling too, but only as part of a scikit-learn classifier.

    Args:
        labels: `int` `(n,)`, n > 0.
        logits: finite `(n, num_classes)`.
    """
    wide = logits.astype(np.float64)

    def nll_at(log_temperature: float) -> float:
        return _mean_nll(labels, log_softmax(wide / np.exp(log_temperature), axis=1))

    fitted = minimize_scalar(nll_at, bounds=_LOG_TEMPERATURES, method="bounded").x
    # The NLL is flat around its minimum. If the fitted T is no better than T = 1, return exactly 1.
    return float(np.exp(min(0.0, float(fitted), key=nll_at)))


def _mean_nll(labels: np.ndarray, log_probabilities: np.ndarray) -> float:
    return float(0.0 - np.mean(log_probabilities[np.arange(len(labels)), labels]))
