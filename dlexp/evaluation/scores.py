"""Scores of predictions: top-k accuracy, scores per class, and one-vs-rest curves."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dlexp.evaluation.intervals import Share, share_with_interval

TOP_K = (1, 3, 5)


def probabilities_of(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits `(n, num_classes)`, as `float32`; NaN in rows that are not finite."""
    finite = np.isfinite(logits).all(axis=1, keepdims=True)
    wide = np.where(finite, logits, 0.0).astype(np.float64)
    exponentials = np.exp(wide - wide.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return np.where(finite, probabilities, np.nan).astype(np.float32)


def score_top_k(labels: np.ndarray, logits: np.ndarray) -> dict[int, Share]:
    """Computes top-k accuracies: shares of examples whose class is among the k most probable classes.

    Args:
        labels: `int` `(n,)`.
        logits: finite `(n, num_classes)`. Ties go to the first class.

    Returns:
        Shares by k: always k = 1; k = 3 and k = 5 if they are below the number of classes.
    """
    own = np.take_along_axis(logits, labels[:, np.newaxis], axis=1)
    earlier = np.arange(logits.shape[1]) < labels[:, np.newaxis]
    rank = np.sum((logits > own) | ((logits == own) & earlier), axis=1)
    most = max(1, logits.shape[1] - 1)
    return {k: share_with_interval(int(np.sum(rank < k)), len(labels)) for k in TOP_K if k <= most}


@dataclass(frozen=True)
class ClassCounts:
    """What the scores of single classes are computed from.

    Attributes:
        right: `int` `(num_classes,)`, examples of each class that are predicted as it.
        predicted: `int` `(num_classes,)`, examples that are predicted as each class.
        support: `int` `(num_classes,)`, examples of each class.
    """

    right: np.ndarray
    predicted: np.ndarray
    support: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> "ClassCounts":
        """Counts labels and predictions, both `int` `(n,)`."""
        counted = (labels[labels == predictions], predictions, labels)
        return cls(*(np.bincount(classes, minlength=num_classes) for classes in counted))

    @functools.cached_property
    def precision(self) -> np.ndarray:
        """`(num_classes,)`; NaN for a class that was never predicted."""
        return _ratio(self.right, self.predicted)

    @functools.cached_property
    def recall(self) -> np.ndarray:
        """`(num_classes,)`; NaN for a class without examples."""
        return _ratio(self.right, self.support)

    @functools.cached_property
    def f1(self) -> np.ndarray:
        """`(num_classes,)`; NaN for a class that has no examples and was never predicted."""
        return _ratio(2 * self.right, self.predicted + self.support)

    @functools.cached_property
    def intersection_over_union(self) -> np.ndarray:
        """`(num_classes,)`, also named Jaccard index; NaN as for F1."""
        return _ratio(self.right, self.predicted + self.support - self.right)

    def macro(self, scores: np.ndarray) -> float:
        """The mean over the classes that have examples; a score that is not defined counts as 0."""
        present = self.support > 0
        return float(np.mean(np.nan_to_num(scores[present]))) if present.any() else float("nan")

    def weighted(self, scores: np.ndarray) -> float:
        """The same mean, weighted by the number of examples."""
        present = self.support > 0
        return float(np.average(np.nan_to_num(scores[present]), weights=self.support[present]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


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
    counts = ClassCounts.of(labels, predictions, num_classes)
    scores = {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
    averages = {
        "macro": {name: counts.macro(values) for name, values in scores.items()},
        "weighted": {name: counts.weighted(values) for name, values in scores.items()},
    }
    return ClassScores(**scores, support=counts.support, averages=averages)


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

    They are those of scikit-learn's `roc_curve` and `precision_recall_curve`, which sort the probabilities of each
    class twice.

    Args:
        labels: `int` `(n,)`.
        probabilities: `(n, num_classes)`.
    """
    return [_score_against_rest(labels == label, probability) for label, probability in enumerate(probabilities.T)]


def _score_against_rest(positive: np.ndarray, probability: np.ndarray) -> Curve | None:
    if positive.all() or not positive.any():
        return None
    right, wrong = _counts_above(positive, probability)
    precision = np.concatenate([[1.0], right / (right + wrong)])
    recall = np.concatenate([[0.0], right / right[-1]])
    corners = _corners(right, wrong)
    false_positive_rate = np.concatenate([[0.0], wrong[corners] / wrong[-1]])
    true_positive_rate = np.concatenate([[0.0], right[corners] / right[-1]])
    return Curve(
        false_positive_rate,
        true_positive_rate,
        recall[::-1],
        precision[::-1],
        roc_auc=_area(right, wrong),
        average_precision=float(np.sum(np.diff(recall) * precision[1:])),
    )


def mean_roc_auc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Computes the mean one-vs-rest area under the ROC curve, over the classes that have a curve; NaN if none has.

    Args:
        labels: `int` `(n,)`.
        probabilities: `(n, num_classes)`.
    """
    areas = []
    for label in np.unique(labels):
        positive = labels == label
        if not positive.all():
            areas.append(_area(*_counts_above(positive, probabilities[:, label])))
    return mean_over_classes(areas)


def _counts_above(positive: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each distinct probability, from the greatest on: positive examples that have it or more, and negative."""
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    right = np.cumsum(positive[order])[ends]
    return right, ends + 1 - right


def _corners(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Which points of a ROC curve lie on no straight line between their neighbours."""
    turns = np.diff(right, 2).astype(bool) | np.diff(wrong, 2).astype(bool)
    return np.concatenate([[True], turns, [True]])[: len(right)] if len(right) > 1 else np.array([True])


def _area(right: np.ndarray, wrong: np.ndarray) -> float:
    """The area under the ROC curve, by trapezoids; whole numbers until the division, so exact."""
    below = np.concatenate([[0], right[:-1]]) + right
    doubled = int(np.sum(np.diff(wrong, prepend=0) * below))
    return doubled / (2 * int(right[-1]) * int(wrong[-1]))


def mean_over_classes(values: Sequence[float]) -> float:
    """Returns the mean of the values that are not NaN; NaN if there are none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
