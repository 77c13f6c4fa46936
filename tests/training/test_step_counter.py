"""Steps are counted, whatever the optimizer does with their gradients."""

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlexp.checkpoints.files import load_checkpoint
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import OptimizationConfig
from dlexp.experiment import resume_experiment, run_experiment
from dlexp.models.keras_internals import count_updates
from dlexp.registry import MODELS
from dlexp.runs.run import Run
from dlexp.training.optimizers import build_optimizer
from dlexp.training.step_counter import StepCounter
from tests.support.mlflow_store import client_of

EPOCHS, STEPS = 4, 20


def build_overflowing(input_shape: tuple[int, int, int], num_classes: int) -> keras.Model:
    """A network whose gradients overflow in float16 until the loss scale has fallen: activations up to 500."""
    layers = keras.layers
    pixels = layers.Input(input_shape)
    x = layers.Rescaling(2.0)(layers.Flatten()(pixels))
    logits = layers.Dense(num_classes, kernel_initializer="zeros")(x)
    return keras.Model(pixels, layers.Activation("linear", dtype="float32")(logits))


def config_of(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    fixed: dict[str, Any] = {
        "model": "overflowing",
        "dtype_policy": "mixed_float16",
        "lr_schedule": "cosine",
        "epochs": EPOCHS,
        "store": str(store),
        "verbose": 0,
        "evaluation_report": False,
    }
    off = dict.fromkeys(("mlflow_autolog", "system_metrics", "tensorboard", "sample_pictures"), False)
    return ExperimentConfig.of(**fixed | off | values)


@pytest.fixture(scope="module")
def skipping(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that skips updates, with points every 5 steps."""
    store = tmp_path_factory.mktemp("store")
    with MODELS.override("overflowing", build_overflowing):
        return run_experiment(config_of(store, log_every_steps=5, steps_per_execution="5")).run


def steps_of(run: Run, key: str) -> list[int]:
    points = run.points()
    return points["step"][points["key"] == key].tolist()


def test_epochs_whose_updates_are_skipped_are_all_recorded_at_their_steps(skipping: Run) -> None:
    ends = [STEPS * epoch for epoch in range(1, EPOCHS + 1)]
    assert skipping.points().query("key == 'skipped_updates'")["value"].iloc[-1] > 3
    for key in ("loss", "val_loss", "gradient_norm", "learning_rate", "epoch_seconds", "images_per_second"):
        assert steps_of(skipping, key) == ends, key
    assert steps_of(skipping, "test_accuracy") == ends[-1:]
    history = client_of(skipping.path.parents[2]).get_metric_history(skipping.id, "val_loss")
    assert [metric.step for metric in history] == ends


def test_time_never_runs_backwards_in_the_points_of_a_run_that_skips_updates(skipping: Run) -> None:
    assert steps_of(skipping, "steps/loss") == list(range(5, EPOCHS * STEPS + 1, 5))
    assert skipping.points()["step"].is_monotonic_increasing


def test_cosine_ends_at_zero_although_updates_were_skipped(skipping: Run) -> None:
    rates = skipping.points().query("key == 'learning_rate'")["value"].to_numpy()
    expected = 0.001 * 0.5 * (1 + np.cos(np.pi * np.arange(1, EPOCHS + 1) / EPOCHS))
    np.testing.assert_allclose(rates, expected, atol=1e-9)


def test_gradient_norm_of_a_skipped_update_is_infinite(skipping: Run) -> None:
    points = skipping.points()
    norms = points[points["key"] == "steps/gradient_norm"].set_index("step")["value"]
    skipped = points[points["key"] == "steps/skipped_updates"].set_index("step")["value"]
    assert np.isinf(norms[5])
    assert skipped[5] == 5
    assert np.isfinite(norms.iloc[-1])


def test_resumed_run_that_skips_updates_equals_one_that_never_stopped(tmp_path: pathlib.Path) -> None:
    class StopError(Exception):
        pass

    class StopAfterTwo(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                raise StopError

    config = config_of(tmp_path / "whole")
    with MODELS.override("overflowing", build_overflowing):
        whole = run_experiment(config)
        with pytest.raises(StopError):
            run_experiment(config_of(tmp_path / "stopped"), callbacks=[StopAfterTwo()])
        resumed = resume_experiment("latest", store=str(tmp_path / "stopped"))
    assert resumed.weights_digest == whole.weights_digest
    assert steps_of(resumed.run, "learning_rate") == steps_of(whole.run, "learning_rate")
    assert load_checkpoint(resumed.run.path).metadata["step"] == load_checkpoint(whole.run.path).metadata["step"]


def build_counted(**optimizer_args: Any) -> tuple[keras.Model, StepCounter]:
    """One weight, trained under a cosine over 12 steps in mixed_float16."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, dtype="mixed_float16")])
    optimization = OptimizationConfig(
        optimizer="sgd", lr_schedule="cosine", epochs=3, learning_rate=0.5, optimizer_args=optimizer_args
    )
    steps = StepCounter()
    optimizer = build_optimizer(optimization, model, steps_per_epoch=4, steps=steps)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0), "mse")
    model.optimizer.build(model.trainable_variables)
    steps.watch(model)
    return model, steps


COUNTED = build_counted()
VARIABLES = [*COUNTED[0].variables, *COUNTED[0].optimizer.variables]
START = [variable.numpy() for variable in VARIABLES]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_count_and_rate_are_those_of_the_step_for_every_pattern_of_skips(overflows: Sequence[bool]) -> None:
    model, steps = COUNTED
    steps.set(0)
    for variable, value in zip(VARIABLES, START, strict=True):
        variable.assign(value)  # else the loss scale falls from example to example
    for number, overflow in enumerate(overflows):
        rate = 0.5 * 0.5 * (1 + np.cos(np.pi * number / 12))
        assert float(model.optimizer.learning_rate) == pytest.approx(rate, abs=1e-6)
        targets = np.full((1, 1), np.inf if overflow else 1.0, np.float32)
        model.train_on_batch(np.ones((1, 1), np.float32), targets)
        assert steps.taken() == number + 1
    assert float(model.optimizer.learning_rate) == pytest.approx(0, abs=1e-6)
    assert count_updates(model.optimizer) == overflows.count(False)


def test_gradient_accumulation_is_no_slower_clock() -> None:
    model, steps = build_counted(gradient_accumulation_steps=3)
    for _ in range(6):
        model.train_on_batch(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    assert steps.taken() == 6
    assert int(model.optimizer.iterations) == 2
    assert float(model.optimizer.learning_rate) == pytest.approx(0.25)
