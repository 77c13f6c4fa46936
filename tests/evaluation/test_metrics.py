"""Metrics of logits against scikit-learn's of probabilities, and their names."""

from typing import Any

import keras
import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf

from dlexp.errors import UnknownNameError
from dlexp.evaluation import metrics as module
from dlexp.evaluation.metrics import MetricOfLogits, build_metrics, metric_names, portable_metrics

EVERY_NAME = [*module._ON_ONE_HOT, *module._ON_INTEGERS, *module._ON_LABELS]


def random_batch(num_classes: int, size: int = 600) -> tuple[Any, Any, Any, Any]:
    """Integer labels, one-hot labels, logits that are right more often than not, and their probabilities."""
    generator = np.random.default_rng(num_classes)
    labels = np.concatenate([np.arange(num_classes), generator.integers(0, num_classes, size - num_classes)])
    one_hot = np.eye(num_classes, dtype="float32")[labels]
    logits = (generator.normal(size=(size, num_classes)) + 1.5 * one_hot).astype("float32")
    exponentials = np.exp(logits.astype("float64"))
    return labels, one_hot, logits, exponentials / exponentials.sum(axis=1, keepdims=True)


def measure(metric: Any, labels: Any, logits: Any, batch_size: int = 350) -> float:
    for start in range(0, len(labels), batch_size):
        metric.update_state(labels[start : start + batch_size], logits[start : start + batch_size])
    return float(metric.result())


@pytest.mark.parametrize("num_classes", [2, 3, 12])
@pytest.mark.parametrize(
    ("name", "reference", "tolerance"),
    [
        ("F1Score", lambda y, _, p: sk.f1_score(y, p.argmax(1), average="macro"), 1e-5),
        ("AUC", lambda _, h, p: sk.roc_auc_score(h, p, average="macro"), 5e-3),
        ("Precision", lambda _, h, p: sk.precision_score(h, p > 0.5, average="micro"), 1e-5),
        ("Recall", lambda _, h, p: sk.recall_score(h, p > 0.5, average="micro"), 1e-5),
        ("OneHotMeanIoU", lambda y, _, p: sk.jaccard_score(y, p.argmax(1), average="macro"), 1e-5),
        ("MeanIoU", lambda y, _, p: sk.jaccard_score(y, p.argmax(1), average="macro"), 1e-5),
        ("CategoricalCrossentropy", lambda y, _, p: sk.log_loss(y, p), 1e-5),
        ("SparseCategoricalCrossentropy", lambda y, _, p: sk.log_loss(y, p), 1e-5),
        ("BinaryCrossentropy", lambda _, h, p: -np.mean(h * np.log(p) + (1 - h) * np.log(1 - p)), 1e-5),
        ("MeanSquaredError", lambda _, h, p: sk.mean_squared_error(h, p), 1e-5),
        ("SparseCategoricalAccuracy", lambda y, _, p: sk.accuracy_score(y, p.argmax(1)), 1e-5),
    ],
)
def test_metric_agrees_with_scikit_learn(name: str, reference: Any, tolerance: float, num_classes: int) -> None:
    labels, one_hot, logits, probabilities = random_batch(num_classes)
    expected = reference(labels, one_hot, probabilities)
    assert measure(MetricOfLogits(name, num_classes), one_hot, logits) == pytest.approx(expected, abs=tolerance)


def test_accuracies_agree_with_scikit_learn() -> None:
    labels, one_hot, logits, probabilities = random_batch(12)
    accuracy, top5 = build_metrics([], 12)
    assert measure(accuracy, one_hot, logits) == pytest.approx(sk.accuracy_score(labels, probabilities.argmax(1)))
    assert measure(top5, one_hot, logits) == pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5))


def test_portable_metrics_of_integer_labels_give_the_same_numbers() -> None:
    labels, one_hot, logits, _ = random_batch(12)
    for portable, metric in zip(portable_metrics(12), build_metrics([], 12), strict=True):
        assert portable.name == metric.name
        assert measure(portable, labels, logits) == measure(metric, one_hot, logits)
        assert type(portable).__module__.startswith("keras.")


@pytest.mark.parametrize("num_classes", [2, 12])
@pytest.mark.parametrize("name", EVERY_NAME)
def test_every_metric_is_a_finite_scalar_of_its_name(name: str, num_classes: int) -> None:
    _, one_hot, logits, _ = random_batch(num_classes)
    metric = build_metrics([name], num_classes)[-1]
    assert np.isfinite(measure(metric, one_hot, logits))
    assert metric.result().shape == ()
    assert metric.name == metric_names([name], num_classes)[-1]


@pytest.mark.parametrize("name", EVERY_NAME)
def test_reset_forgets_everything_and_no_variable_comes_late(name: str) -> None:
    _, one_hot, logits, _ = random_batch(3)
    metric = MetricOfLogits(name, 3)
    fresh = [variable.numpy() for variable in metric.variables]
    first = measure(metric, one_hot, logits)
    metric.reset_state()
    assert len(fresh) == len(metric.variables) > 0
    for variable, value in zip(metric.variables, fresh, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert measure(metric, one_hot, logits) == first


@pytest.mark.parametrize("name", ["Precision", "AUC", "F1Score", "MeanIoU"])
def test_soft_labels_count_as_their_greatest_class(name: str) -> None:
    _, one_hot, logits, _ = random_batch(3)
    soft = measure(MetricOfLogits(name, 3), 0.7 * one_hot + 0.1, logits)
    assert soft == measure(MetricOfLogits(name, 3), one_hot, logits)


def test_cross_entropy_takes_soft_labels_as_they_are() -> None:
    _, one_hot, logits, probabilities = random_batch(3)
    soft = 0.7 * one_hot + 0.1
    expected = -np.mean(np.sum(soft * np.log(probabilities), axis=1))
    assert measure(MetricOfLogits("CategoricalCrossentropy", 3), soft, logits) == pytest.approx(expected, abs=1e-5)


def test_half_precision_logits_are_measured_in_float32() -> None:
    _, one_hot, logits, _ = random_batch(3)
    halved = tf.cast(logits, tf.bfloat16)
    expected = measure(MetricOfLogits("AUC", 3), one_hot, tf.cast(halved, tf.float32))
    assert measure(MetricOfLogits("AUC", 3), one_hot, halved) == expected


def test_logs_of_fit_have_the_announced_keys() -> None:
    _, one_hot, logits, _ = random_batch(12)
    names = ["F1Score", "auc"]
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(12)])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=build_metrics(names, 12))
    logs = model.fit(logits, one_hot, verbose=0).history
    assert sorted(logs) == sorted(metric_names(names, 12))


def test_top5_accuracy_is_there_from_ten_classes_on() -> None:
    assert metric_names([], 9) == ["loss", "accuracy"]
    assert metric_names([], 10) == ["loss", "accuracy", "top5_accuracy"]
    assert [metric.name for metric in build_metrics([], 10)] == ["accuracy", "top5_accuracy"]
    assert [metric.name for metric in build_metrics([], 9)] == ["accuracy"]


def test_metrics_that_are_given_twice_or_always_measured_appear_once() -> None:
    assert metric_names(["accuracy", "F1Score", "f1_score"], 3) == ["loss", "accuracy", "f1_score"]


@pytest.mark.parametrize("name", ["f1", "R2Score", "Metric", "open"])
def test_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown metric '{name}'"):
        metric_names([name], 3)
    with pytest.raises(UnknownNameError, match=f"unknown metric '{name}'"):
        build_metrics([name], 3)


def test_metric_is_restored_from_its_config() -> None:
    metric = MetricOfLogits("F1Score", 3)
    restored = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert isinstance(restored, MetricOfLogits)
    assert restored.get_config() == metric.get_config()
