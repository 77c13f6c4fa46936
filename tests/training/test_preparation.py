"""What is checked before a training: the monitored metric, and the validation step of a model that has its own."""

import contextlib
import pathlib
from typing import Any

import numpy as np
import pytest

from dlexp import ArraySource, ExperimentConfig
from dlexp.errors import ConfigError, ModelError
from dlexp.registry import SOURCES
from dlexp.training.preparation import prepare
from tests.support.own_methods import train, variant

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")


def predicts(model: Any, data: Any) -> tuple[Any, Any, Any]:
    images, labels = data
    return images, labels, model(images, training=False)


def measures_no_loss(self: Any, data: Any) -> Any:
    return self.compute_metrics(*predicts(self, data))


def returns(value: Any) -> Any:
    return lambda self, data: value


@pytest.mark.parametrize(
    ("test_step", "values", "reason"),
    [
        (returns({"error": 0.5}), {}, "measures error, but the monitored metric is val_accuracy"),
        (returns(None), {}, "it returns a NoneType, and must return a dict"),
        (returns(0.5), {}, "it returns a \\w+, and must return a dict"),
        (returns({"accuracy": [0.5, 1.0]}), {}, r"it returns accuracy of shape \(2,\), and must return one number"),
        (lambda self, data: data[2], {}, r"test_step of model variant fails: IndexError: .*test_preparation\.py"),
        (measures_no_loss, {"monitor": "val_loss"}, "measures .*accuracy, but the monitored metric is val_loss"),
    ],
)
def test_test_step_that_cannot_be_used_is_refused_before_a_run_is_made(
    test_step: Any, values: dict[str, Any], reason: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ModelError, match=reason):
        train(variant(test_step=test_step), tmp_path / "store", **values)
    assert not (tmp_path / "store" / "artifacts").exists()


def one_class_validation(spec: str, *, data_dir: str) -> ArraySource:
    """Ten images of each of two classes in training and test, and ten of the first class in validation."""
    labels = np.repeat([0, 1, 0, 0, 1], 10)
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    splits = np.repeat(["train", "train", "validation", "test", "test"], 10)
    return ArraySource("lopsided", images, labels=labels, class_names=("cat", "dog"), splits=splits)


@pytest.mark.parametrize(
    ("monitor", "metrics", "reason"),
    [
        ("val_auc", ("auc",), "validation has examples of one class only"),
        ("val_recall/dog", ("recall/dog",), "validation has no example of class dog"),
        ("val_recall/cat", ("recall/cat",), ""),
        ("recall/dog", ("recall/dog",), ""),
        ("val_macro_f1", ("macro_f1", "auc"), ""),
    ],
)
def test_monitor_that_is_not_defined_on_its_split_is_refused_before_training(
    monitor: str, metrics: tuple[str, ...], reason: str
) -> None:
    config = ExperimentConfig.of(dataset="lopsided", model="mlp", batch_size=8, monitor=monitor, metrics=metrics)
    with SOURCES.override("lopsided", one_class_validation):
        refused = pytest.raises(ConfigError, match=f"monitor={monitor} is not defined, as {reason}")
        with refused if reason else contextlib.nullcontext():
            prepare(config)


@pytest.mark.parametrize("name", ["batch_size", "micro_batch_size"])
def test_batch_size_that_is_still_to_be_chosen_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    config = ExperimentConfig.of(**{"store": str(tmp_path), name: "auto"})
    assert config.data.has_auto_size
    with pytest.raises(ConfigError, match="batch_size=auto is chosen by measurements before the training"):
        prepare(config)


def test_metric_of_a_test_step_is_monitored_as_the_messages_say(tmp_path: pathlib.Path) -> None:
    kind = variant(test_step=returns({"error": 0.5}))
    with pytest.raises(ConfigError, match="give --monitor_mode=min or max"):
        train(kind, tmp_path, monitor="val_error")
    assert train(kind, tmp_path, monitor="val_error", monitor_mode="min").record()["metrics"]["val_error"] == 0.5


def test_loss_that_a_test_step_does_not_measure_is_not_recorded_as_zero(tmp_path: pathlib.Path) -> None:
    record = train(variant(test_step=measures_no_loss), tmp_path).record()
    assert record["verified"]
    assert "val_loss" not in record["metrics"]
    assert record["metrics"]["val_accuracy"] > 0.2
