"""Metrics of a training and of an evaluation: Keras metrics that compute their results with `evaluation.scores`.

So what a training monitors, what an evaluation prints and what the report says are the same functions of the logits.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from dlexp.errors import ConfigError
from dlexp.evaluation.scores import ClassCounts, mean_roc_auc, probabilities_of
from dlexp.models.contract import describe_error
from dlexp.models.keras_internals import is_training_step, softmax_without_logits
from dlexp.registry import METRICS, register_metric
from dlexp.runs.metric_names import resolve_metrics

_TOP_K = 5


def build_metrics(
    names: Sequence[str], class_names: Sequence[str], *, examples: int, loss: str = "cross_entropy"
) -> list[keras.metrics.Metric]:
    """Builds the metrics of a training or of an evaluation.

    Args:
        names: additional metrics, see `resolve_metrics`.
        class_names: name of each label.
        examples: largest number of examples that are evaluated between two resets.
        loss: see `resolve_metrics`.

    Returns:
        The metrics of `resolve_metrics`, in its order. They take one-hot or soft labels and logits, both
        `(batch, num_classes)` and of any float dtype; of soft labels the largest entry is the class. Their results are
        scalars. Inside a traced step, results other than accuracies and means are NaN: they are computed once, when
        they are read after an epoch.

    Raises:
        UnknownNameError: no such metric or class.
        ConfigError: a metric makes no sense for a single label, or the builder of a plug-in breaks its contract.
    """
    built = []
    for resolved in resolve_metrics(names, class_names, loss=loss):
        builder = METRICS.get(resolved.metric)
        if METRICS.is_builtin(resolved.metric):
            metric = builder(len(class_names), key=resolved.key, label=resolved.label, examples=examples)
        else:
            metric = _build_foreign(builder, resolved.metric, len(class_names))
        built.append(metric)
    return built


def portable_metrics() -> list[keras.metrics.Metric]:
    """Builds `accuracy` for integer labels, from Keras classes only.

    Keras' top-k accuracy is left out: it counts every class that ties with the k-th as right.
    """
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy", dtype="float32")]


def classes_of(labels: Any) -> Any:
    """The class of each label, one-hot or soft `(batch, num_classes)`, as `int32` `(batch,)`."""
    return first_greatest(labels)


def first_greatest(values: Any) -> Any:
    """The position of the first of the greatest entries of each row, as `int32`; Keras' argmax ranks -0 below 0."""
    return tf.argmax(values, axis=-1, output_type=tf.int32)


def usable_logits(logits: Any) -> Any:
    """Logits as `float32`, with zeros in rows that are not finite: every class then has the same probability."""
    logits = ops.cast(logits, "float32")
    return ops.where(ops.all(ops.isfinite(logits), axis=-1, keepdims=True), logits, ops.zeros_like(logits))


class TopKAccuracy(keras.metrics.Metric):
    """The share of examples whose class is among the k greatest logits; of equal logits, the first class is greater.

    Args:
        k: how many classes count.
        key: name of the metric.
    """

    def __init__(self, k: int, key: str) -> None:
        super().__init__(name=key, dtype="float32")
        self._k = k
        self.total = self.add_variable((), "zeros", dtype="float32", name="total")
        self.count = self.add_variable((), "zeros", dtype="float32", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels and logits `(batch, num_classes)`."""
        labels, logits = classes_of(y_true)[:, None], usable_logits(y_pred)
        own = ops.take_along_axis(logits, labels, axis=-1)
        earlier = ops.arange(logits.shape[-1], dtype="int32")[None] < labels
        ahead = ops.logical_or(logits > own, ops.logical_and(ops.equal(logits, own), earlier))
        right = ops.sum(ops.cast(ahead, "int32"), axis=-1) < self._k
        self.total.assign_add(ops.sum(ops.cast(right, "float32")))
        self.count.assign_add(ops.cast(ops.shape(right)[0], "float32"))

    def result(self) -> Any:
        """The share of right examples since the last reset; NaN if there are none."""
        if tf.executing_eagerly():
            total, count = float(self.total.numpy()), float(self.count.numpy())
            return total / count if count else np.nan
        return ops.divide_no_nan(self.total, self.count)


class CountScore(keras.metrics.Metric):
    """A score of `ClassCounts`, for all classes or for one.

    Args:
        score: computes the score of every class.
        num_classes: number of classes.
        key: name of the metric.
        label: the class; None: the mean over the classes that have examples.
    """

    def __init__(
        self, score: Callable[[ClassCounts], np.ndarray], num_classes: int, *, key: str, label: int | None
    ) -> None:
        super().__init__(name=key, dtype="float32")
        self._score, self._label, self._num_classes = score, label, num_classes
        # Rows: right predictions, predictions, examples of each class.
        self.counts = self.add_variable((3, num_classes), "zeros", dtype="float32", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels and logits `(batch, num_classes)`."""
        labels = ops.one_hot(classes_of(y_true), self._num_classes)
        predictions = ops.one_hot(first_greatest(usable_logits(y_pred)), self._num_classes)
        self.counts.assign_add(ops.sum(ops.stack([labels * predictions, predictions, labels]), axis=1))

    def result(self) -> Any:
        """The score since the last reset; NaN in a traced step, and where it is not defined."""
        if not tf.executing_eagerly():
            return ops.convert_to_tensor(np.nan, "float32")
        counts = ClassCounts(*self.counts.numpy().astype(np.int64))
        scores = self._score(counts)
        return counts.macro(scores) if self._label is None else float(scores[self._label])


class AreaUnderCurve(keras.metrics.Metric):
    """The mean one-vs-rest area under the ROC curve, exact: it keeps the logits of all examples since the last reset.

    It measures nothing in a training step, as it would have to keep the predictions of the whole epoch, in checkpoints
    too: its result is NaN there.

    Args:
        num_classes: number of classes.
        key: name of the metric.
        examples: most examples between two resets.
    """

    def __init__(self, num_classes: int, *, key: str, examples: int) -> None:
        super().__init__(name=key, dtype="float32")
        # Variables of TensorFlow, which are no state of the metric for Keras: no checkpoint needs a validation.
        self._logits = tf.Variable(tf.zeros((examples, num_classes)), trainable=False)
        self._labels = tf.Variable(tf.zeros((examples,), tf.int32), trainable=False)
        self._count = tf.Variable(0, dtype=tf.int32, trainable=False)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels and logits `(batch, num_classes)`."""
        if is_training_step():
            return
        logits, labels = usable_logits(y_pred), classes_of(y_true)
        rows = (self._count + tf.range(tf.shape(logits)[0]))[:, tf.newaxis]
        self._logits.scatter_nd_update(rows, logits)
        self._labels.scatter_nd_update(rows, labels)
        self._count.assign_add(tf.shape(logits)[0])

    def result(self) -> Any:
        """The mean area since the last reset; NaN in a traced step, and if no class has examples and others."""
        if not tf.executing_eagerly():
            return ops.convert_to_tensor(np.nan, "float32")
        count = int(self._count.numpy())
        return mean_roc_auc(self._labels.numpy()[:count], probabilities_of(self._logits.numpy()[:count]))

    def reset_state(self) -> None:
        """Forgets all batches."""
        self._count.assign(0)


class MeanOfLogits(keras.metrics.Metric):
    """A Keras metric of labels and probabilities, or of labels and logits.

    Args:
        inner: the metric.
        key: name of this metric.
        of_logits: `inner` takes logits.
        takes_classes: `inner` takes one-hot labels, also where labels are soft.
    """

    def __init__(self, inner: Any, *, key: str, of_logits: bool = False, takes_classes: bool = False) -> None:
        super().__init__(name=key, dtype="float32")
        self.inner, self._of_logits, self._takes_classes = inner, of_logits, takes_classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch: labels and logits `(batch, num_classes)`."""
        predicted = ops.cast(y_pred, "float32") if self._of_logits else softmax_without_logits(y_pred)
        labels = ops.cast(y_true, "float32")
        if self._takes_classes:
            labels = ops.one_hot(classes_of(labels), labels.shape[-1])
        self.inner.update_state(labels, predicted)

    def result(self) -> Any:
        """The metric over all batches since the last reset."""
        return self.inner.result()

    def reset_state(self) -> None:
        """Forgets all batches."""
        self.inner.reset_state()


def _build_foreign(builder: Callable[..., Any], name: str, num_classes: int) -> keras.metrics.Metric:
    """Builds a metric of a plug-in, and measures a few random examples with it, before a training does."""
    try:
        metric = builder(num_classes)
    except Exception as err:
        raise ConfigError(f"metric {name} cannot be built: {describe_error(err, builder)}") from err
    if not isinstance(metric, keras.metrics.Metric):
        raise ConfigError(
            f"the builder of metric {name} must return a keras.metrics.Metric, but returned {type(metric).__name__}: "
            "see dlexp.register_metric"
        )
    metric.name = name
    labels = np.eye(num_classes, dtype=np.float32)[np.arange(num_classes + 1) % num_classes]
    try:
        # It creates the variables of some metrics, which a resume restores before the first batch.
        metric.update_state(labels, np.random.default_rng(0).normal(size=labels.shape).astype(np.float32))
        float(metric.result())
        metric.reset_state()
    except Exception as err:
        raise ConfigError(
            f"metric {name} cannot measure one-hot labels and logits (batch, {num_classes}) as one number: "
            f"{describe_error(err, builder)}"
        ) from err
    return metric


def _top_k(k: int) -> Callable[..., keras.metrics.Metric]:
    return lambda num_classes, *, key, label, examples: TopKAccuracy(k, key)


def _count_score(score: Callable[[ClassCounts], np.ndarray]) -> Callable[..., keras.metrics.Metric]:
    return lambda num_classes, *, key, label, examples: CountScore(score, num_classes, key=key, label=label)


def _mean(inner: Callable[[], Any], **settings: bool) -> Callable[..., keras.metrics.Metric]:
    return lambda num_classes, *, key, label, examples: MeanOfLogits(inner(), key=key, **settings)


def _area(num_classes: int, *, key: str, label: int | None, examples: int) -> keras.metrics.Metric:
    return AreaUnderCurve(num_classes, key=key, examples=examples)


_cross_entropy = partial(keras.metrics.CategoricalCrossentropy, from_logits=True)
_BUILT_IN: dict[str, Callable[..., keras.metrics.Metric]] = {
    **dict.fromkeys(("accuracy", "categorical_accuracy", "sparse_categorical_accuracy"), _top_k(1)),
    **dict.fromkeys(
        ("top5_accuracy", "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"), _top_k(_TOP_K)
    ),
    **dict.fromkeys(("balanced_accuracy", "recall"), _count_score(lambda counts: counts.recall)),
    "precision": _count_score(lambda counts: counts.precision),
    # By default the F-beta of Keras has beta = 1.
    **dict.fromkeys(("f1_score", "macro_f1", "f_beta_score"), _count_score(lambda counts: counts.f1)),
    **dict.fromkeys(("mean_io_u", "one_hot_mean_io_u"), _count_score(lambda counts: counts.intersection_over_union)),
    "auc": _area,
    **dict.fromkeys(("cross_entropy", "categorical_crossentropy"), _mean(_cross_entropy, of_logits=True)),
    "sparse_categorical_crossentropy": _mean(_cross_entropy, of_logits=True, takes_classes=True),
    "kl_divergence": _mean(keras.metrics.KLDivergence),
    "cosine_similarity": _mean(keras.metrics.CosineSimilarity),
    "mean_absolute_error": _mean(keras.metrics.MeanAbsoluteError),
    "mean_squared_error": _mean(keras.metrics.MeanSquaredError),
    "root_mean_squared_error": _mean(keras.metrics.RootMeanSquaredError),
    "poisson": _mean(keras.metrics.Poisson),
}
for _name, _builder in _BUILT_IN.items():
    register_metric(_name)(_builder)
