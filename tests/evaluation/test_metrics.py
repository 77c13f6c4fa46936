"""Every metric against scikit-learn, on any labels and logits, however they are cut into batches."""

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import sklearn.metrics as sk
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dlexp.config.monitor import is_smaller_better
from dlexp.errors import ConfigError, UnknownNameError
from dlexp.evaluation.metrics import build_metrics, portable_metrics
from dlexp.evaluation.scores import probabilities_of, score_classes, score_one_against_rest, score_top_k
from dlexp.evaluation.scoring import Scoring
from dlexp.registry import METRICS, register_metric
from dlexp.runs.metric_names import resolve_metrics

BUILT_IN = METRICS.builtin_names()


def names_of(num_classes: int) -> list[str]:
    return [f"class {label}" for label in range(num_classes)]


@st.composite
def predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits, with classes that are absent, ties, and rows that are not finite."""
    num_classes, examples = draw(st.integers(2, 12)), draw(st.integers(1, 24))
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=examples, max_size=examples))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = generator.integers(-2, 3, (examples, num_classes)).astype("float32") * draw(st.sampled_from([0, 0.7, 3]))
    bad = draw(st.lists(st.sampled_from(range(examples)), max_size=2))
    logits[bad, 0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    return np.array(labels), logits.astype("float32")


def measure(name: str, labels: np.ndarray, logits: np.ndarray, batch_size: int = 7) -> float:
    metric = next(
        metric
        for metric in build_metrics([name], names_of(logits.shape[1]), examples=len(labels), loss="other")
        if metric.name == name
    )
    one_hot = np.eye(logits.shape[1], dtype="float32")[labels]
    for start in range(0, len(labels), batch_size):
        metric.update_state(one_hot[start : start + batch_size], logits[start : start + batch_size])
    return float(metric.result())


def usable(logits: np.ndarray) -> np.ndarray:
    """Logits where rows that are not finite have equal probabilities and predict the first class."""
    return np.where(np.isfinite(logits).all(axis=1, keepdims=True), logits, 0)


def top_five(labels: np.ndarray, logits: np.ndarray) -> float:
    """By sorting; scikit-learn puts the last of equal scores first."""
    order = np.argsort(-usable(logits), axis=1, kind="stable")[:, :5]
    return float(np.mean((order == labels[:, None]).any(axis=1)))


def mean_area(labels: np.ndarray, logits: np.ndarray) -> float:
    probabilities = probabilities_of(usable(logits))
    classes = [label for label in np.unique(labels) if not (labels == label).all()]
    areas = [sk.roc_auc_score(labels == label, probabilities[:, label]) for label in classes]
    return float(np.mean(areas)) if areas else np.nan


def macro(score: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float]:
    """A score of scikit-learn over the classes that have examples."""
    return lambda labels, logits: score(
        labels, usable(logits).argmax(axis=1), labels=np.unique(labels), average="macro", zero_division=0
    )


def of_one_hot(score: Callable[..., float]) -> Callable[[np.ndarray, np.ndarray], float]:
    """A score of one-hot labels and probabilities."""
    return lambda labels, logits: score(np.eye(logits.shape[1])[labels], probabilities_of(logits).astype(float))


def log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return sk.log_loss(truth.argmax(axis=1), probabilities, labels=range(truth.shape[1]))


EXPECTED = {
    **dict.fromkeys(
        ("accuracy", "categorical_accuracy", "sparse_categorical_accuracy"),
        lambda labels, logits: sk.accuracy_score(labels, usable(logits).argmax(axis=1)),
    ),
    **dict.fromkeys(("top5_accuracy", "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy"), top_five),
    "precision": macro(sk.precision_score),
    **dict.fromkeys(("recall", "balanced_accuracy"), macro(sk.recall_score)),
    **dict.fromkeys(("f1_score", "macro_f1", "f_beta_score"), macro(sk.f1_score)),
    **dict.fromkeys(("mean_io_u", "one_hot_mean_io_u"), macro(sk.jaccard_score)),
    "auc": mean_area,
}
# Means over the examples: not finite if the logits of one are not.
EXPECTED_MEANS = {
    **dict.fromkeys(
        ("cross_entropy", "categorical_crossentropy", "sparse_categorical_crossentropy", "kl_divergence"),
        of_one_hot(log_loss),
    ),
    "mean_absolute_error": of_one_hot(sk.mean_absolute_error),
    "mean_squared_error": of_one_hot(sk.mean_squared_error),
    "root_mean_squared_error": of_one_hot(lambda truth, p: np.sqrt(sk.mean_squared_error(truth, p))),
    "poisson": of_one_hot(lambda truth, p: np.mean(p - truth * np.log(p + 1e-7))),
    "cosine_similarity": of_one_hot(lambda truth, p: np.mean(np.sum(truth * p, 1) / np.linalg.norm(p, axis=1))),
}


@pytest.mark.parametrize("name", EXPECTED)
@settings(max_examples=30, deadline=None)
@given(data=predictions(), batch_size=st.integers(1, 30))
def test_metric_is_that_of_scikit_learn(name: str, data: tuple[np.ndarray, np.ndarray], batch_size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = EXPECTED[name](*data)
    assert measure(name, *data, batch_size=batch_size) == pytest.approx(expected, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", EXPECTED_MEANS)
@settings(max_examples=20, deadline=None)
@given(data=predictions(), batch_size=st.integers(1, 30))
def test_mean_is_that_of_scikit_learn(name: str, data: tuple[np.ndarray, np.ndarray], batch_size: int) -> None:
    labels, logits = data
    measured = measure(name, labels, logits, batch_size=batch_size)
    if np.isnan(logits).any():
        assert np.isnan(measured)
    elif np.isfinite(logits).all():
        assert measured == pytest.approx(EXPECTED_MEANS[name](labels, logits), rel=1e-4, abs=1e-5)


def test_every_built_in_metric_is_compared_with_scikit_learn() -> None:
    assert sorted(BUILT_IN) == sorted([*EXPECTED, *EXPECTED_MEANS])


@settings(max_examples=30, deadline=None)
@given(data=predictions())
def test_report_and_metrics_are_the_same_numbers(data: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = data
    names = ["precision", "recall", "f1_score", "auc", "recall/class 1", "precision/class 0"]
    measured = Scoring(names).measure(labels, logits, names_of(logits.shape[1]))
    finite = usable(logits)
    classes = score_classes(labels, finite.argmax(axis=1), logits.shape[1])
    averages, shares = classes.averages["macro"], score_top_k(labels, finite)
    assert measured["accuracy"] == shares[1].value
    assert measured.get("top5_accuracy") in (None, shares[max(shares)].value)
    assert [measured[name] for name in ("precision", "recall", "f1_score")] == list(averages.values())
    np.testing.assert_equal(measured["recall/class 1"], classes.recall[1])
    np.testing.assert_equal(measured["precision/class 0"], classes.precision[0])
    areas = [curve.roc_auc for curve in score_one_against_rest(labels, probabilities_of(finite)) if curve]
    np.testing.assert_allclose(measured["auc"], np.mean(areas) if areas else np.nan, rtol=1e-12)


def test_dead_network_does_not_win_by_its_ties() -> None:
    labels, logits = np.arange(20) % 10, np.zeros((20, 10), "float32")
    assert measure("top5_accuracy", labels, logits) == 0.5
    assert measure("accuracy", labels, logits) == 0.1


def test_two_classes_have_no_precision_that_is_their_accuracy() -> None:
    labels = np.array([0] * 80 + [1] * 21)
    predicted = np.array([0] * 64 + [1] * 16 + [0] * 11 + [1] * 10)
    logits = np.eye(2, dtype="float32")[predicted]
    assert measure("precision", labels, logits) == pytest.approx(sk.precision_score(labels, predicted, average="macro"))
    assert measure("accuracy", labels, logits) != pytest.approx(measure("precision", labels, logits), abs=0.05)


def test_class_without_examples_does_not_lower_a_mean() -> None:
    labels, logits = np.array([0, 1, 2, 0, 1, 2]), np.eye(4, dtype="float32")[[0, 1, 2, 0, 1, 2]]
    for name in ("f1_score", "auc", "recall", "precision", "balanced_accuracy", "mean_io_u"):
        assert measure(name, labels, logits) == 1.0, name


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("BinaryAccuracy", "balanced_accuracy"),
        ("true_positives", "precision/CLASS"),
        ("CategoricalHinge", "cross_entr"),
    ],
)
def test_metric_that_makes_no_sense_is_refused_with_the_right_name(name: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=f"metrics={name} makes no sense where every image has one class: .*{advice}"):
        resolve_metrics([name], names_of(3))


def test_soft_labels_count_as_their_greatest_class() -> None:
    labels, logits = np.array([0, 1, 2, 1]), np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    soft = 0.7 * np.eye(3, dtype="float32")[labels] + 0.1
    names = ["f1_score", "recall", "auc", "mean_io_u"]
    metrics = build_metrics(names, names_of(3), examples=4)
    for metric in metrics:
        metric.update_state(soft, logits)
    assert {metric.name: float(metric.result()) for metric in metrics} == pytest.approx(
        {name: measure(name, labels, logits) for name in ["accuracy", *names]}
    )


def test_half_precision_logits_are_measured_in_float32() -> None:
    labels, logits = np.arange(30) % 3, np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
    halved = tf.cast(logits, tf.bfloat16)
    area = build_metrics(["auc"], names_of(3), examples=30)[-1]
    area.update_state(np.eye(3, dtype="float32")[labels], halved)
    assert float(area.result()) == measure("auc", labels, tf.cast(halved, tf.float32).numpy())


@pytest.mark.parametrize("name", BUILT_IN)
def test_reset_forgets_everything_and_no_variable_comes_late(name: str) -> None:
    labels, logits = np.arange(12) % 12, np.eye(12, dtype="float32")
    metric = next(
        metric for metric in build_metrics([name], names_of(12), examples=12, loss="other") if metric.name == name
    )
    count = len(metric.variables)
    results = []
    for _ in range(2):
        metric.update_state(np.eye(12, dtype="float32")[labels], logits)
        results.append(float(metric.result()))
        metric.reset_state()
    assert results[0] == results[1]
    assert len(metric.variables) == count


def test_portable_accuracy_is_the_accuracy_of_keras_own_classes() -> None:
    labels, logits = np.arange(30) % 12, np.random.default_rng(0).integers(0, 2, (30, 12)).astype("float32")
    (portable,) = portable_metrics()
    portable.update_state(labels, logits)
    assert float(portable.result()) == pytest.approx(measure("accuracy", labels, logits))
    assert type(portable).__module__.startswith("keras.")


def test_logs_of_fit_are_those_over_the_epoch() -> None:
    labels, logits = np.arange(24) % 12, np.random.default_rng(0).normal(size=(24, 12)).astype("float32")
    names = ["F1Score", "auc", "recall/class 3"]
    model = keras.Sequential([keras.Input((12,)), keras.layers.Activation("linear")])
    metrics = build_metrics(names, names_of(12), examples=24)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=metrics)
    logs = model.evaluate(logits, np.eye(12)[labels], batch_size=7, verbose=0, return_dict=True)
    assert logs == pytest.approx(Scoring(names).measure(labels, logits, names_of(12)))


@pytest.mark.parametrize("name", ["f1", "R2Score", "Metric", "open", "recall/cta"])
def test_unknown_metric_or_class_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown (metric|class) "):
        resolve_metrics([name], ["cat", "dog"])


def test_every_built_in_metric_has_a_direction() -> None:
    assert [name for name in BUILT_IN if is_smaller_better(f"val_{name}") is None] == []


def test_registered_metric_is_measured_under_its_name() -> None:
    with METRICS.isolated():

        @register_metric("confidence")
        def build_confidence(num_classes: int) -> keras.metrics.Metric:
            return keras.metrics.MeanMetricWrapper(lambda _, logits: keras.ops.max(keras.ops.softmax(logits), axis=-1))

        assert measure("confidence", np.zeros(3, int), np.zeros((3, 4), "float32")) == pytest.approx(0.25)


class ClassCount(keras.metrics.Metric):
    """The number of examples of each class."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = self.add_variable((3,), "zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.counts.assign_add(keras.ops.sum(y_true, axis=0))

    def result(self) -> Any:
        return self.counts


class CountByName(ClassCount):
    """The same as a dictionary."""

    def result(self) -> Any:
        return {"first": self.counts[0]}


@pytest.mark.parametrize(
    ("builder", "reason"),
    [
        (lambda num_classes: ClassCount(), "cannot measure one-hot labels and logits .* as one number: TypeError"),
        (lambda num_classes: CountByName(), "cannot measure one-hot labels and logits .* as one number: TypeError"),
        (lambda num_classes: keras.metrics.SparseCategoricalAccuracy(), "cannot measure one-hot labels"),
        (lambda num_classes: num_classes / 0, r"cannot be built: ZeroDivisionError.*test_metrics\.py, line"),
    ],
)
def test_metric_of_a_plugin_that_cannot_be_used_is_refused_before_a_training(builder: Any, reason: str) -> None:
    with METRICS.isolated():
        register_metric("unusable")(builder)
        with pytest.raises(ConfigError, match=f"metric unusable {reason}"):
            build_metrics(["unusable"], ["a", "b", "c"], examples=3)
