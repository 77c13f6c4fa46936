"""Networks as public examples write them: trained, stopped, resumed, evaluated, swept, and opened by plain Keras."""

import contextlib
import pathlib
import random
import re
import signal
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pytest

from dlexp import ExperimentConfig, ExperimentResult, load_checkpoint, resume_experiment, run_experiment
from dlexp.config.flags import config_from_words
from dlexp.errors import InterruptedRunError, ModelError, TrainingError
from dlexp.evaluation.checkpoint_evaluation import evaluate_checkpoint
from dlexp.registry import CALLBACKS, MODELS, register_model
from dlexp.runs.run import Run
from dlexp.runs.store import iterate_runs
from dlexp.sweeps.warm_networks import WarmNetworks
from dlexp.tracking.mlflow.logged_model import CAUTION_TAG
from dlexp.training import preparation
from tests.models.test_contract import Forgetful
from tests.support import killing
from tests.support.mlflow_store import client_of
from tests.support.networks import CONSTANT_DRAWS, EXACT, NOT_EXACT

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")
PLUGIN = "tests.support.networks"


class StopAt(keras.callbacks.Callback):
    """Ends a training in the middle of its second epoch, without saving."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.epoch == 1 and batch == 3:
            raise InterruptedRunError("stopped by the test")


def values_of(name: str, store: pathlib.Path, **values: Any) -> dict[str, Any]:
    quick = {
        "model": name, "plugins": (PLUGIN,), "epochs": 2, "batch_size": 128, "learning_rate": 0.01, "verbose": 0,
        "save_every_steps": 2, "steps_per_execution": "1", "tensorboard": False, "evaluation_report": False,
        "sample_pictures": False, "store": str(store),
    }  # fmt: skip
    return quick | values


def train(name: str, store: pathlib.Path, **given: Any) -> ExperimentResult:
    return run_experiment(ExperimentConfig.of(**values_of(name, store)), **given)


def stop_and_resume(name: str, store: pathlib.Path) -> Run:
    with pytest.raises(InterruptedRunError):
        train(name, store, callbacks=[StopAt()])
    (run,) = iterate_runs(store)
    return resume_experiment(run.path).run


@pytest.mark.parametrize("name", EXACT)
def test_network_trains_resumes_bit_for_bit_evaluates_and_opens(name: str, tmp_path: pathlib.Path) -> None:
    result = train(name, tmp_path / "whole")
    record = result.run.record()
    assert record["verified"]
    assert "cautions" not in record
    assert killing.differences(stop_and_resume(name, tmp_path / "stopped"), result.run) == []

    folder = evaluate_checkpoint(result.run.path, splits=["test"], output=tmp_path / "evaluation")["test"]
    assert folder.report["metrics"]["accuracy"] == pytest.approx(result.metrics["test_accuracy"], abs=1e-6)
    checkpoint = load_checkpoint(result.run.path)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    plain = keras.saving.load_model(checkpoint.path, safe_mode=True)
    np.testing.assert_array_equal(plain(pixels, training=False), checkpoint.model(pixels, training=False))


@pytest.mark.parametrize("name", ["own_step", "own_loss", "stochastic_depth", "separable", "moving_center"])
def test_network_that_trains_in_micro_batches_resumes_bit_for_bit(name: str, tmp_path: pathlib.Path) -> None:
    runs: list[Run] = []
    for store, stop in (("whole", ()), ("stopped", (StopAt(),))):
        config = ExperimentConfig.of(**values_of(name, tmp_path / store, micro_batch_size=50))
        with contextlib.suppress(InterruptedRunError):
            run_experiment(config, callbacks=stop)
        runs += iterate_runs(tmp_path / store)
    assert killing.differences(resume_experiment(runs[1].path).run, runs[0]) == []
    record = runs[0].record()
    assert record["verified"]
    assert "cautions" not in record


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_subclass_trains_and_resumes_in_half_precision(policy: str, tmp_path: pathlib.Path) -> None:
    runs: list[Run] = []
    for store, stop in (("whole", ()), ("stopped", (StopAt(),))):
        config = ExperimentConfig.of(**values_of("subclassed", tmp_path / store, dtype_policy=policy))
        with contextlib.suppress(InterruptedRunError):
            run_experiment(config, callbacks=stop)
        runs += iterate_runs(tmp_path / store)
    assert killing.differences(resume_experiment(runs[1].path).run, runs[0]) == []
    assert runs[0].record()["verified"]
    model = load_checkpoint(runs[0].path).model
    assert {layer.dtype_policy.name for layer in (model.hidden, model.logits)} == {policy}


@pytest.fixture(scope="module")
def networks() -> WarmNetworks:
    """The networks of one worker that runs all trials of this file."""
    return WarmNetworks()


@pytest.mark.parametrize("name", EXACT)
def test_warm_trial_equals_the_run_of_its_flags_in_a_fresh_process(
    name: str, networks: WarmNetworks, tmp_path: pathlib.Path
) -> None:
    for rate in (0.01, 0.003):
        values = values_of(name, tmp_path / "sweep", epochs=1, learning_rate=rate)
        run = run_experiment(ExperimentConfig.of(**values), prepare_setup=networks.prepare).run
    again = config_from_words([f"--flagfile={run.path}/run.flags", f"--store={tmp_path / 'single'}"])
    assert killing.differences(killing.train(again.flat()), run) == []


class DrawsFromPython(keras.callbacks.Callback):
    """Disturbs a weight with random numbers of Python and NumPy."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        weight = self.model.trainable_weights[0]
        weight.assign(weight * (1 + 0.01 * random.random() + 0.01 * np.random.uniform()))


@pytest.mark.parametrize(("name", "callbacks"), [("global_seed", ()), ("subclassed", ("draws_from_python",))])
def test_warm_trial_that_draws_elsewhere_equals_a_single_run(
    name: str, callbacks: tuple[str, ...], tmp_path: pathlib.Path
) -> None:
    networks, digests = WarmNetworks(), []
    values = values_of(name, tmp_path, epochs=1, callbacks=callbacks)
    with CALLBACKS.override("draws_from_python", DrawsFromPython):
        for _ in range(2):
            swept = run_experiment(ExperimentConfig.of(**values), prepare_setup=networks.prepare)
            digests.append(swept.weights_digest)
        keras.utils.clear_session()
        digests.append(run_experiment(ExperimentConfig.of(**values)).weights_digest)
    assert len(set(digests)) == 1


def test_own_step_that_is_killed_resumes_bit_for_bit(tmp_path: pathlib.Path) -> None:
    reference = killing.train(values_of("own_step", tmp_path / "whole"))
    values = values_of("own_step", tmp_path / "killed")
    assert killing.finish(killing.start_training(values, crash_at="write:3")) == -signal.SIGKILL
    assert killing.differences(killing.train(values), reference) == []


@pytest.mark.parametrize("micro_batch_size", [0, 50])
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("tensorflow_noise", r"layer tensor_flow_noise\w* \(TensorFlowNoise\) draws from TensorFlow"),
        ("global_seed", r"layer global_seed\w* \(GlobalSeed\) keeps the variable"),
        ("generator_noise", r"layer generator_noise\w* \(GeneratorNoise\) keeps the variable StateVar"),
        ("counting", r"model counting\w* \(Counting\) keeps the variable steps"),
    ],
)
def test_state_that_no_checkpoint_holds_is_named_and_recorded(
    name: str, cause: str, micro_batch_size: int, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert name in NOT_EXACT
    result = run_experiment(ExperimentConfig.of(**values_of(name, tmp_path, micro_batch_size=micro_batch_size)))
    warnings = [record.getMessage() for record in caplog.records if "bit for bit" in record.getMessage()]
    assert len(warnings) == 1
    record = result.run.record()
    assert record["caution"] == "resume not exact"
    for text in (warnings[0], record["cautions"]["resume not exact"]):
        assert re.search(cause, text), text
    assert client_of(tmp_path).get_run(result.run.id).data.tags[CAUTION_TAG] == "resume not exact"


@pytest.mark.parametrize("micro_batch_size", [0, 50])
@pytest.mark.parametrize(
    ("name", "owner"),
    [("python_noise", r"layer python_noise\w* \(PythonNoise\)"), ("mixing", r"model mixing\w* \(Mixing\)")],
)
def test_random_numbers_that_are_drawn_while_tracing_are_named_and_recorded(
    name: str, owner: str, micro_batch_size: int, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert name in CONSTANT_DRAWS
    values = values_of(name, tmp_path, micro_batch_size=micro_batch_size)
    record = run_experiment(ExperimentConfig.of(**values)).run.record()
    (warning,) = [record.getMessage() for record in caplog.records if "same in every step" in record.getMessage()]
    assert re.match(owner, warning)
    assert re.match(rf"{owner} draws random numbers", record["cautions"]["random numbers stay the same"])
    assert record["caution"] == "random numbers stay the same"


def test_network_of_two_outputs_is_refused_before_anything_is_written(tmp_path: pathlib.Path) -> None:
    def build(input_shape: Any, num_classes: int) -> keras.Model:
        pixels = keras.Input(input_shape)
        features = keras.layers.Flatten()(pixels)
        return keras.Model(pixels, [keras.layers.Dense(num_classes)(features) for _ in range(2)])

    with MODELS.isolated():
        register_model("two_outputs")(build)
        with pytest.raises(ModelError, match="model two_outputs has 2 outputs"):
            train("two_outputs", tmp_path / "store")
    assert not list(iterate_runs(tmp_path / "store"))


def build_forgetful(input_shape: Any, num_classes: int) -> keras.Model:
    layers = keras.layers
    inner = [layers.Rescaling(1 / 16), Forgetful(0.05), layers.Flatten()]
    return keras.Sequential([layers.Input(input_shape), *inner, layers.Dense(num_classes)])


@pytest.mark.parametrize("report", [False, True])
def test_best_checkpoint_that_is_another_network_marks_the_run(
    report: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preparation, "check_saved_network", lambda *models, **names: None)
    values = values_of("forgetful", tmp_path, plugins=(), evaluation_report=report)
    with MODELS.override("forgetful", build_forgetful):
        record = run_experiment(ExperimentConfig.of(**values)).run.record()
    assert (record["status"], record["verified"], record["caution"]) == ("FINISHED", False, "not verified")
    assert re.search(r"does not give the values that its epoch recorded on validation: val_loss", caplog.text)


class RunsAnother(keras.callbacks.Callback):
    """Starts another training within a training."""

    def __init__(self, store: pathlib.Path) -> None:
        super().__init__()
        self.store = store

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        train("subclassed", self.store)


def test_training_within_a_callback_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainingError, match="a training is under way in this process"):
        train("subclassed", tmp_path / "outer", callbacks=[RunsAnother(tmp_path / "inner")])
    assert not list(iterate_runs(tmp_path / "inner"))
