"""What is measured while a model trains: norms, times, waiting, load, and the pictures of it."""

import json
import pathlib
import time
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from dlexp import experiment
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import DivergedError
from dlexp.experiment import run_experiment
from dlexp.machine.load import LoadMeter
from dlexp.reports.history import draw_history
from dlexp.runs.run import Run, create_run
from dlexp.runs.store import find_run
from dlexp.training.callbacks.point_logger import PointLogger, make_points
from dlexp.training.callbacks.training_batch import describe_label
from dlexp.training.callbacks.validation_examples import choose_examples, read_epochs, read_predictions
from dlexp.training.data_clock import DataClock
from dlexp.training.gradients import GradientWatch, weight_norm
from dlexp.training.preparation import prepare

QUIET = {"verbose": 0, "mlflow_autolog": False}


def build_linear(**settings: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1, **settings), keras.losses.MeanSquaredError())
    return model


IMAGES, TARGETS = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 2), np.float32)


def true_gradients(model: keras.Model) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(IMAGES) - TARGETS) ** 2)
    return [each.numpy() for each in tape.gradient(loss, model.trainable_variables)]


@pytest.mark.parametrize("settings", [{}, {"global_clipnorm": 0.5}])
def test_gradient_norm_is_that_of_the_step_before_clipping(settings: dict[str, float]) -> None:
    model = build_linear(**settings)
    expected = np.sqrt(sum(np.sum(each**2) for each in true_gradients(model)))
    watch = GradientWatch(model, steps_per_epoch=1)
    assert np.isnan(watch.norm())
    model.fit(IMAGES, TARGETS, batch_size=4, verbose=0)
    assert watch.norm() == pytest.approx(expected, rel=1e-5)


def test_gradients_that_are_kept_are_those_of_the_last_step_of_the_epoch() -> None:
    model = build_linear()
    watch = GradientWatch(model, steps_per_epoch=2, keep=True)
    model.fit(IMAGES, TARGETS, batch_size=4, epochs=1, verbose=0)
    expected = true_gradients(model)
    assert watch.gradients() == {}
    model.fit(IMAGES, TARGETS, batch_size=4, epochs=1, verbose=0)
    assert list(watch.gradients()) == [each.path for each in model.trainable_variables]
    for kept, gradient in zip(watch.gradients().values(), expected, strict=True):
        np.testing.assert_allclose(kept, gradient, rtol=1e-5)


def test_gradient_norm_of_mixed_precision_is_not_scaled() -> None:
    norms = []
    for dtype_policy in ("float32", "mixed_float16"):
        values = {"model": "mlp", "epochs": 1, "dtype_policy": dtype_policy, "steps_per_execution": "1"}
        setup = prepare(ExperimentConfig.of(**values, log_every_steps=1))
        setup.model.make_train_function()
        setup.model.train_function(iter(setup.datasets.train_dataset()))
        norms.append(setup.meters.gradients.norm())
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_weight_norm_is_over_all_trainable_weights() -> None:
    model = build_linear()
    kernel, bias = model.get_weights()
    assert weight_norm(model) == pytest.approx(np.sqrt(np.sum(kernel**2) + np.sum(bias**2)), rel=1e-6)


def test_waiting_for_slow_data_is_noticed() -> None:
    def read(step: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        return step

    clock = DataClock()
    slow = tf.data.Dataset.range(28).map(lambda step: tf.numpy_function(read, [step], tf.int64))
    assert [int(step) for step in clock.watch(slow)] == list(range(28))
    assert clock.seconds() >= 0.28


def test_load_tells_of_process_and_machine() -> None:
    load = LoadMeter().read()
    assert load["load/process_memory_mb"] > 10
    assert 0 < load["load/machine_memory_percent"] <= 100
    assert {"load/process_cpu_percent", "load/machine_cpu_percent"} <= set(load)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    store = tmp_path_factory.mktemp("store")
    config = ExperimentConfig.of(
        model="mlp", epochs=3, steps_per_execution="5", log_every_steps=10, histograms=True, store=str(store), **QUIET
    )
    return run_experiment(config).run


def steps_of(run: Run, key: str) -> list[int]:
    points = run.points()
    return points["step"][points["key"] == key].tolist()


def test_every_so_many_steps_there_are_points(run: Run) -> None:
    every_ten = list(range(10, 61, 10))
    for key in ("loss", "accuracy", "gradient_norm", "weight_norm", "learning_rate", "step_seconds"):
        assert steps_of(run, f"steps/{key}") == every_ten, key
    assert steps_of(run, "load/process_memory_mb") == every_ten


def test_every_epoch_has_norms_times_and_load(run: Run) -> None:
    for key in ("gradient_norm", "weight_norm", "step_seconds", "data_wait_seconds", "images_per_second"):
        assert steps_of(run, key) == [20, 40, 60], key


def test_loss_at_the_end_of_an_epoch_is_that_of_the_epoch(run: Run) -> None:
    points = run.points().set_index(["key", "step"])["value"]
    assert points["steps/loss", 40] == points["loss", 40]


def test_pictures_of_the_training_are_drawn(run: Run) -> None:
    for name in ("history.png", "samples/training_batch.png", "samples/validation_examples.png"):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG"), name


def test_same_validation_examples_are_noted_after_every_epoch(run: Run) -> None:
    table = read_predictions(run.path / "samples/validation_examples.jsonl")
    by_epoch = [each["key"].tolist() for _, each in table.groupby("epoch")]
    assert len(by_epoch) == 3
    assert by_epoch[0] == by_epoch[1] == by_epoch[2]
    assert set(table["label"]) == set(range(10))
    assert table["probability_of_label"].between(0, 1).all()


def test_validation_examples_come_from_each_class_in_turn() -> None:
    labels, splits = [0] * 5 + [1] * 2 + [2] * 3, ["validation"] * 9 + ["train"]
    manifest = pd.DataFrame({"key": [f"{n:02d}" for n in range(10)], "label": labels, "split": splits})
    assert choose_examples(manifest, most=7).tolist() == [0, 1, 2, 5, 6, 7, 8]


def test_epoch_that_a_kill_cut_short_is_removed_from_the_record(tmp_path: pathlib.Path) -> None:
    lines = [json.dumps({"epoch": epoch, "key": key}) for epoch in (1, 2) for key in "ab"]
    record = tmp_path / "examples.jsonl"
    record.write_text("\n".join(lines[:3]) + "\n" + lines[3][:5])
    assert read_epochs(record) == {1}
    assert read_predictions(record)["epoch"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([0, 1, 0], "b"),
        ([0.05, 0.9, 0.05], "b"),
        ([0.3, 0.7, 0], "b 0.70\na 0.30"),
        ([1, 0], "a"),
        ([0.4, 0.6], "b 0.60\na 0.40"),
    ],
)
def test_label_is_told_with_shares_only_where_it_is_mixed(label: list[float], expected: str) -> None:
    assert describe_label(np.array(label), ("a", "b", "c")) == expected


def test_history_of_a_run_without_an_epoch_is_not_drawn(tmp_path: pathlib.Path) -> None:
    empty = create_run(tmp_path, "a" * 32, name="run", config=ExperimentConfig())
    draw_history(empty)
    assert not (empty.path / "history.png").exists()


def test_run_that_diverged_has_its_history_up_to_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any, callbacks: list[Any], **__: Any) -> None:
        (logger,) = (each for each in callbacks if isinstance(each, PointLogger))
        logger._log.append(make_points({"loss": 1.0, "val_loss": 1.5}, step=20, epoch=1))
        raise DivergedError(25)

    monkeypatch.setattr(experiment, "train_model", diverge)
    with pytest.raises(DivergedError):
        run_experiment(ExperimentConfig.of(model="mlp", store=str(tmp_path), **QUIET))
    assert (find_run("latest", tmp_path).path / "history.png").exists()
