"""Scores of predictions: top-k accuracy, scores per class, and one-vs-rest curves."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import auc, precision_recall_curve, precision_recall_fscore_support, roc_curve

from dlexp.evaluation.intervals import Share, share_with_interval

TOP_K = (1, 3, 5)


def score_top_k(labels: np.ndarray, probabilities: np.ndarray) -> dict[int, Share]:
    """Computes top-k accuracies: shares of examples whose class is among the k most probable classes.

    Args:
        labels: `int` `(n,)`.
        probabilities: `(n, num_classes)`. Ties go to the first class.

    Returns:
        Shares by k: always k = 1; k = 3 and k = 5 if they are below the number of classes.
    """
    ranks = np.argsort(-probabilities, axis=1, kind="stable") == labels[:, np.newaxis]
    rank = ranks.argmax(axis=1)
    most = max(1, probabilities.shape[1] - 1)
    return {k: share_with_interval(int(np.sum(rank < k)), len(labels)) for k in TOP_K if k <= most}


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 per class; NaN if not defined.

    Attributes:
        precision: `(num_classes,)`; NaN for a class that was never predicted.
        recall: `(num_classes,)`; NaN for a class without examples.
        f1: `(num_classes,)`; NaN for a class that has no examples and was never predicted.
        support: `int` `(num_classes,)`, number of examples.
        averages: `macro` and `weighted`, both with `precision`, `recall` and `f1`, over the classes that have examples;
            a score that is not defined counts as 0.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray
    averages: Mapping[str, Mapping[str, float]]


def score_classes(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> ClassScores:
    """Computes precision, recall and F1 of every class, and their averages.

    Args:
        labels: `int` `(n,)`.
        predictions: `int` `(n,)`.
        num_classes: number of classes; some may have no examples.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predictions, labels=range(num_classes), zero_division=np.nan
    )
    averages = {}
    for average in ("macro", "weighted"):
        scores = precision_recall_fscore_support(
            labels, predictions, labels=np.unique(labels), average=average, zero_division=0.0
        )
        averages[average] = dict(zip(("precision", "recall", "f1"), map(float, scores[:3]), strict=True))
    return ClassScores(precision, recall, f1, support, averages)


@dataclass(frozen=True)
class Curve:
    """One-vs-rest curves of one class, over all thresholds of its probability.

    Attributes:
        false_positive_rate: x of the ROC curve.
        true_positive_rate: y of the ROC curve.
        recall: x of the precision-recall curve.
        precision: y of the precision-recall curve.
        roc_auc: area under the ROC curve.
        average_precision: mean of the precision, weighted by the increase in recall.
    """

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray
    recall: np.ndarray
    precision: np.ndarray
    roc_auc: float
    average_precision: float


def score_one_against_rest(labels: np.ndarray, probabilities: np.ndarray) -> list[Curve | None]:
    """Computes the curves of every class; None for a class that has no examples, or all examples.

    Args:
        labels: `int` `(n,)`.
        probabilities: `(n, num_classes)`.
    """
    return [_score_against_rest(labels == label, probability) for label, probability in enumerate(probabilities.T)]


def _score_against_rest(positive: np.ndarray, probability: np.ndarray) -> Curve | None:
    if positive.all() or not positive.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        false_positive_rate, true_positive_rate, _ = roc_curve(positive, probability)
        precision, recall, _ = precision_recall_curve(positive, probability)
    return Curve(
        false_positive_rate,
        true_positive_rate,
        recall,
        precision,
        roc_auc=float(auc(false_positive_rate, true_positive_rate)),
        # The formula of sklearn's average_precision_score, which would compute the curve again.
        average_precision=float(-np.sum(np.diff(recall) * precision[:-1])),
    )


def mean_over_classes(values: Sequence[float]) -> float:
    """Returns the mean of the values that are not NaN; NaN if there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
