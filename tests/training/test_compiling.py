"""Models that override `compile` or their training step."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest

from dlexp import load_checkpoint
from dlexp.errors import ModelError
from tests.support.own_methods import train, variant

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")


def other_optimizer(self: Any, optimizer: Any, **given: Any) -> None:
    keras.Model.compile(self, optimizer="adam", **given)


def other_loss(self: Any, loss: Any, **given: Any) -> None:
    smooth = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    keras.Model.compile(self, loss=smooth, **given)


def keeps_loss(self: Any, optimizer: Any, loss: Any, metrics: Any, **given: Any) -> None:
    keras.Model.compile(self, optimizer=optimizer, metrics=metrics)


def nothing(self: Any, **given: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("own", "ignored"),
    [
        (other_optimizer, "optimizer"),
        (other_loss, "loss"),
        (keeps_loss, "loss, steps_per_execution"),
        (nothing, "optimizer, loss, metrics, steps_per_execution"),
    ],
)
def test_compile_that_trains_otherwise_than_recorded_is_refused(own: Any, ignored: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelError, match=rf"compile\(\) of model variant does not pass on {ignored}: call super"):
        train(variant(compile=own), tmp_path, steps_per_execution="2")


def test_compile_that_takes_other_arguments_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ModelError, match=r"compile\(\) of model variant fails: TypeError.*arguments optimizer, loss"):
        train(variant(compile=lambda self, student_loss: None), tmp_path)


def passes_on(self: Any, temperature: float = 2.0, **given: Any) -> None:
    self.temperature = temperature
    keras.Model.compile(self, **given)


@pytest.mark.filterwarnings("error:.*not called as part of model loading")
def test_model_with_its_own_compile_trains_and_its_checkpoint_is_compiled_for_evaluation(
    tmp_path: pathlib.Path,
) -> None:
    run = train(variant(compile=passes_on), tmp_path)
    assert run.record()["verified"]
    model = load_checkpoint(run.path).model
    measured = model.evaluate(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]), verbose=0, return_dict=True)
    assert {"loss", "accuracy"} <= measured.keys()


def super_step(self: Any, data: Any) -> Any:
    return keras.Model.train_step(self, data)


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        (lambda self, data: {}, "train_step of model variant returns {}, and must return numbers by name"),
        (lambda self, data: None, "train_step of model variant returns None, and must return numbers by name"),
        (lambda self, data: super_step(self, data) | {"norms": keras.ops.ones(3)}, r"returns norms of shape \(3,\)"),
        (lambda self, data: data[7], r"step of model variant fails: IndexError: .*test_compiling\.py, line"),
    ],
)
def test_train_step_that_cannot_be_used_is_named_before_it_is_taken(
    own: Any, reason: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ModelError, match=reason):
        train(variant(train_step=own), tmp_path)


def test_loss_that_fails_names_the_model(tmp_path: pathlib.Path) -> None:
    def compute_loss(self: Any, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool = True) -> Any:
        return keras.ops.mean(y_pred[:, :3] - y)

    with pytest.raises(ModelError, match=r"step of model variant fails: .*test_compiling\.py, line"):
        train(variant(compute_loss=compute_loss), tmp_path)
