"""The losses of the registry, alone and in a training."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlexp import evaluate_checkpoint
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError, UnknownNameError
from dlexp.evaluation.losses import build_loss
from dlexp.experiment import run_experiment
from dlexp.registry import LOSSES, register_loss
from dlexp.testing import LossContract, MetricContract


class TestBuiltInLoss(LossContract):
    @pytest.fixture(params=LOSSES.builtin_names())
    def build(self, request: pytest.FixtureRequest) -> Callable[..., Any]:
        return LOSSES.get(request.param)


class TestMetricOfKeras(MetricContract):
    @pytest.fixture
    def build(self) -> Callable[..., Any]:
        return lambda num_classes: keras.metrics.CategoricalAccuracy()


def losses_of(name: str, **loss_args: Any) -> np.ndarray:
    """Of probabilities 0.5, 0.3, 0.2, for the first and for the last class."""
    labels = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    logits = np.log(np.array([[0.5, 0.3, 0.2]] * 2, np.float32))
    return np.asarray(build_loss(name, loss_args, 3).call(tf.constant(labels), tf.constant(logits)))


def test_focal_loss_is_the_formula_of_its_paper() -> None:
    np.testing.assert_allclose(losses_of("focal"), [-(0.5**2) * np.log(0.5), -(0.8**2) * np.log(0.2)], rtol=1e-5)
    np.testing.assert_allclose(losses_of("focal", gamma=0), losses_of("cross_entropy"), rtol=1e-5)


def test_binary_cross_entropy_is_the_mean_over_the_sigmoids() -> None:
    labels = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    sigmoids = 1 / (1 + 1 / np.array([[0.5, 0.3, 0.2]] * 2))
    expected = -np.mean(labels * np.log(sigmoids) + (1 - labels) * np.log(1 - sigmoids), axis=1)
    np.testing.assert_allclose(losses_of("binary_cross_entropy"), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "loss_args", "message"),
    [("focal", {"gama": 1}, "loss focal refuses loss_args"), ("focal", {"gamma": -1}, "gamma=-1 must be 0 or more")],
)
def test_wrong_arguments_are_refused(name: str, loss_args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_loss(name, loss_args, 3)


def test_unknown_loss_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean focal"):
        build_loss("focall", {}, 3)


def test_trained_loss_has_one_name_and_the_cross_entropy_another(tmp_path: pathlib.Path) -> None:
    off = dict.fromkeys(("mlflow_autolog", "system_metrics", "tensorboard", "sample_pictures"), False)
    metrics = ("auc", "macro_f1", "recall/3")
    with LOSSES.isolated():

        @register_loss("squared")
        def build_squared(num_classes: int) -> Callable[[Any, Any], Any]:
            return lambda labels, logits: keras.ops.sum((labels - keras.ops.softmax(logits)) ** 2, axis=-1)

        config = ExperimentConfig.of(
            model="mlp", epochs=2, loss="squared", metrics=metrics, store=str(tmp_path), verbose=0, **off
        )
        result = run_experiment(config)
        written = evaluate_checkpoint(result.run.path, splits=("validation",))["validation"]
    assert list(written.metrics)[:2] == ["loss", "cross_entropy"]
    assert result.metrics["val_loss"] != pytest.approx(result.metrics["val_cross_entropy"], rel=0.01)
    assert "auc" not in result.metrics
    for name, value in written.metrics.items():
        assert result.metrics[f"val_{name}"] == pytest.approx(value, rel=1e-5), name
    assert written.report["roc_auc"] == written.metrics["auc"]
    assert written.report["averages"]["macro"]["f1"] == written.metrics["macro_f1"]


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        (lambda labels, logits: tf.reduce_mean((labels - logits) ** 2), r"for 5 examples its shape is \(\)"),
        (lambda labels, logits: (labels - logits) ** 2, r"for 5 examples its shape is \(5, 3\)"),
        (lambda labels, logits: tf.cast(tf.argmax(logits, -1), tf.float32), "has no gradient"),
        (lambda labels, logits: tf.reshape(logits, (7,)), r"fails on a batch.*test_losses\.py, line"),
    ],
)
def test_loss_of_a_plugin_that_cannot_be_used_is_refused_before_a_training(loss: Any, reason: str) -> None:
    with LOSSES.isolated():
        register_loss("unusable")(lambda num_classes: loss)
        with pytest.raises(ConfigError, match=f"loss unusable .*{reason}"):
            build_loss("unusable", {}, 3)
