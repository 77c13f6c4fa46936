"""Computes all scores of a split, from which pictures and reports are made."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix

from dlexp.evaluation.calibration import Calibration, fit_temperature, measure_calibration
from dlexp.evaluation.intervals import Share, share_with_interval
from dlexp.evaluation.scores import (
    ClassScores,
    Curve,
    probabilities_of,
    score_classes,
    score_one_against_rest,
    score_top_k,
)
from dlexp.evaluation.split_prediction import Predictions


@dataclass(frozen=True)
class Temperature:
    """A temperature: the logits are divided by it before the softmax.

    Attributes:
        value: 1 changes nothing; a larger value lowers the confidence.
        fitted_on: name of the split that it was fitted on.
    """

    value: float
    fitted_on: str


@dataclass(frozen=True)
class SplitScores:
    """All scores of a split.

    Attributes:
        top_k: top-k accuracies, by k.
        per_source: accuracies by source; empty if there is only one source.
        classes: precision, recall and F1 per class.
        curves: one-vs-rest curves per class; None for a class that has no examples, or all examples.
        confusion: counts `(num_classes, num_classes)`; row: true class, column: predicted class.
        calibration: without a temperature.
        temperature: the fitted temperature.
        calibrated: calibration with this temperature.
        not_finite: number of examples for which the model returned NaN or infinity. All scores treat them as if every
            class had the same probability and the first class was predicted.
    """

    top_k: Mapping[int, Share]
    per_source: Mapping[str, Share]
    classes: ClassScores
    curves: list[Curve | None]
    confusion: np.ndarray
    calibration: Calibration
    temperature: Temperature
    calibrated: Calibration
    not_finite: int

    @property
    def accuracy(self) -> Share:
        """Share of right predictions."""
        return self.top_k[1]


def fit_split_temperature(predictions: Predictions) -> Temperature:
    """Fits a temperature to a split."""
    logits, _ = finite_logits(predictions.logits)
    return Temperature(fit_temperature(predictions.labels, logits), predictions.split)


def score_split(predictions: Predictions, temperature: Temperature) -> SplitScores:
    """Computes all scores of a split.

    Args:
        predictions: of at least one example.
        temperature: the calibration is also measured with it.
    """
    labels, (logits, not_finite) = predictions.labels, finite_logits(predictions.logits)
    table, num_classes = predictions.table, logits.shape[1]
    probabilities = probabilities_of(logits)
    right = (table["label"] == table["prediction"]).groupby(table["source"])
    shares = {str(source): share_with_interval(int(is_right.sum()), len(is_right)) for source, is_right in right}
    return SplitScores(
        top_k=score_top_k(labels, logits),
        per_source=shares if len(shares) > 1 else {},
        classes=score_classes(labels, table["prediction"].to_numpy(), num_classes),
        curves=score_one_against_rest(labels, probabilities),
        confusion=confusion_matrix(labels, table["prediction"], labels=range(num_classes)),
        calibration=measure_calibration(labels, logits),
        temperature=temperature,
        calibrated=measure_calibration(labels, logits, temperature=temperature.value),
        not_finite=int(not_finite.sum()),
    )


def finite_logits(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the logits with zeros in rows that are not finite, and a `bool` mask `(n,)` of these rows."""
    not_finite = ~np.isfinite(logits).all(axis=1)
    return np.where(not_finite[:, np.newaxis], 0.0, logits), not_finite
