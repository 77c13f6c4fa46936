"""Builds Keras metrics by name, for models that return logits, with one-hot labels."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import ops

from dlexp.errors import unknown_name
from dlexp.models.keras_internals import softmax_without_logits

_TOP_K = 5
_FEWEST_CLASSES_FOR_TOP_K = 10

# What a Keras metric compares the probabilities with. Here: a one-hot label; of soft labels the largest entry is 1.
_ON_ONE_HOT = (
    *("AUC", "BinaryAccuracy", "CategoricalAccuracy", "CategoricalHinge", "F1Score", "FBetaScore", "FalseNegatives"),
    *("FalsePositives", "OneHotMeanIoU", "Precision", "Recall", "TopKCategoricalAccuracy", "TrueNegatives"),
    "TruePositives",
)
# Here: the label as an integer.
_ON_INTEGERS = (
    "MeanIoU",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
)
# Here: the labels unchanged, one-hot or soft.
_ON_LABELS = (
    *("BinaryCrossentropy", "CategoricalCrossentropy", "CosineSimilarity", "KLDivergence", "MeanAbsoluteError"),
    *("MeanSquaredError", "Poisson", "RootMeanSquaredError"),
)


def build_metrics(names: Sequence[str], num_classes: int) -> list[keras.metrics.Metric]:
    """Builds the metrics of a training run.

    Args:
        names: additional Keras metrics, as a class name ("F1Score") or in snake case ("f1_score"). Metrics that are
            computed per class (AUC, F1Score, FBetaScore, IoU) return the mean over the classes. Precision, Recall and
            the counts treat every probability above 0.5 as a positive prediction, and pool all classes.
        num_classes: number of classes.

    Returns:
        `accuracy`, `top5_accuracy` if there are at least 10 classes, then the additional metrics. They take one-hot or
        soft labels and logits, both `(batch, num_classes)` and of any float dtype, and return a scalar.

    Raises:
        UnknownNameError: no such metric.
    """
    metrics: list[keras.metrics.Metric] = [keras.metrics.CategoricalAccuracy(name="accuracy", dtype="float32")]
    if num_classes >= _FEWEST_CLASSES_FOR_TOP_K:
        metrics.append(keras.metrics.TopKCategoricalAccuracy(_TOP_K, name="top5_accuracy", dtype="float32"))
    always = {metric.name for metric in metrics}
    return metrics + [MetricOfLogits(metric, num_classes) for metric in _resolve_metrics(names, always)]


def portable_metrics(num_classes: int) -> list[keras.metrics.Metric]:
    """Builds `accuracy` and, for at least 10 classes, `top5_accuracy` for integer labels, from Keras classes only."""
    metrics: list[keras.metrics.Metric] = [keras.metrics.SparseCategoricalAccuracy(name="accuracy", dtype="float32")]
    if num_classes >= _FEWEST_CLASSES_FOR_TOP_K:
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(_TOP_K, name="top5_accuracy", dtype="float32"))
    return metrics


def metric_names(names: Sequence[str], num_classes: int) -> list[str]:
    """Returns the keys of the training logs, without the `val_` keys: `loss`, then the names of `build_metrics`.

    Raises:
        UnknownNameError: no such metric.

    Example:
        >>> metric_names(["F1Score"], 10)
        ['loss', 'accuracy', 'top5_accuracy', 'f1_score']
    """
    always = ["accuracy", *(["top5_accuracy"] if num_classes >= _FEWEST_CLASSES_FOR_TOP_K else [])]
    return ["loss", *always, *map(_snake_case, _resolve_metrics(names, always))]


@keras.saving.register_keras_serializable(package="dlexp")
class MetricOfLogits(keras.metrics.Metric):
    """Adapts a Keras metric to logits and one-hot labels; its result is one number.

    Args:
        metric: name of a class in keras.metrics, such as "F1Score".
        num_classes: number of classes.
        name: key in the logs; by default the class name in snake case.
        dtype: dtype of the state.
    """

    def __init__(self, metric: str, num_classes: int, name: str | None = None, dtype: str = "float32") -> None:
        super().__init__(name=name or _snake_case(metric), dtype=dtype)
        self.metric = metric
        self.num_classes = num_classes
        self.inner = getattr(keras.metrics, metric)(**_arguments_of(metric, num_classes))
        if not self.inner.variables:
            # Some metrics create their variables at the first batch, but a resume restores them before it.
            self.update_state(ops.zeros((1, num_classes)), ops.zeros((1, num_classes)))
            self.reset_state()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels and logits `(batch, num_classes)`, weights `(batch,)`."""
        probabilities = softmax_without_logits(y_pred)
        labels = ops.cast(y_true, "float32")
        if self.metric not in _ON_LABELS:
            labels = ops.argmax(labels, axis=-1)
        if self.metric in _ON_ONE_HOT:
            labels = ops.one_hot(labels, self.num_classes)
        self.inner.update_state(labels, probabilities, sample_weight=sample_weight)

    def result(self) -> Any:
        """Returns the metric over all batches since the last reset, as a scalar."""
        return ops.mean(self.inner.result())

    def reset_state(self) -> None:
        """Forgets all batches."""
        self.inner.reset_state()

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "metric": self.metric, "num_classes": self.num_classes}


def _arguments_of(metric: str, num_classes: int) -> dict[str, Any]:
    if metric == "AUC":
        return {"multi_label": True, "num_labels": num_classes}
    if metric in ("F1Score", "FBetaScore"):
        return {"average": "macro"}
    if metric == "OneHotMeanIoU":
        return {"num_classes": num_classes, "sparse_y_pred": False}
    if metric == "MeanIoU":
        return {"num_classes": num_classes, "sparse_y_true": True, "sparse_y_pred": False}
    return {}


def _resolve_metrics(names: Iterable[str], always: Iterable[str]) -> list[str]:
    """Returns the class names of the metrics, without duplicates and without those that are always measured."""
    classes = [*_ON_ONE_HOT, *_ON_INTEGERS, *_ON_LABELS]
    by_spelling = {spelling: metric for metric in classes for spelling in (metric, _snake_case(metric))}
    resolved: dict[str, None] = {}
    for name in names:
        if name not in always:
            if name not in by_spelling:
                raise unknown_name("metric", name, classes)
            resolved[by_spelling[name]] = None
    return list(resolved)


def _snake_case(name: str) -> str:
    """Returns a class name as Keras names its metrics: F1Score is f1_score, KLDivergence is kl_divergence."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
