"""All scores of a split together: what pictures and reports are made from."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix

from dlexp.evaluation.calibration import Calibration, fit_temperature, measure_calibration
from dlexp.evaluation.intervals import Share, share_with_interval
from dlexp.evaluation.scores import ClassScores, Curve, score_classes, score_one_against_rest, score_top_k
from dlexp.evaluation.split_prediction import Predictions


@dataclass(frozen=True)
class Temperature:
    """What logits are divided by before the softmax.

    Attributes:
        value: 1 changes nothing; more makes a model less sure.
        fitted_on: the split that it fits best.
    """

    value: float
    fitted_on: str


@dataclass(frozen=True)
class SplitScores:
    """All scores of a split.

    Attributes:
        top_k: shares of right answers among the k most probable classes, by k.
        per_source: shares of right answers by source, where there are several.
        classes: class by class.
        curves: one class against the rest; None where that cannot be.
        confusion: counts `(num_classes, num_classes)`; row: true class, column: predicted class.
        calibration: of the probabilities as they are.
        temperature: fitted.
        calibrated: calibration with this temperature.
        not_finite: examples for which the model gave NaN or infinity; to all scores they are examples for which it
            gave every class the same probability, and predicted the first.
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
        """Share of right answers."""
        return self.top_k[1]


def fit_split_temperature(predictions: Predictions) -> Temperature:
    """The temperature that fits a split best."""
    logits, _ = finite_logits(predictions.logits)
    return Temperature(fit_temperature(predictions.labels, logits), predictions.split)


def score_split(predictions: Predictions, temperature: Temperature) -> SplitScores:
    """Computes all scores of a split.

    Args:
        predictions: of one example at least.
        temperature: to measure the calibration with.
    """
    labels, (logits, not_finite) = predictions.labels, finite_logits(predictions.logits)
    table, num_classes = predictions.table, logits.shape[1]
    probabilities = _probabilities(predictions, not_finite)
    right = (table["label"] == table["prediction"]).groupby(table["source"])
    shares = {str(source): share_with_interval(int(of_source.sum()), len(of_source)) for source, of_source in right}
    return SplitScores(
        top_k=score_top_k(labels, probabilities),
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
    """Logits with zeros in rows that are not finite, and `bool` `(n,)`, which rows these are."""
    not_finite = ~np.isfinite(logits).all(axis=1)
    return np.where(not_finite[:, np.newaxis], 0.0, logits), not_finite


def _probabilities(predictions: Predictions, not_finite: np.ndarray) -> np.ndarray:
    columns = predictions.table.filter(regex=r"^probability_\d+$").to_numpy()
    return np.where(not_finite[:, np.newaxis], 1 / columns.shape[1], columns)
