"""One trial in a worker: how it ends, and what it leaves in its folder."""

import pathlib
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Run, Status, SweepTrial, run_folder
from dlexp.sweeps import trial
from dlexp.sweeps.launchers.base import EpochEnded, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.trial import TrialRunner

LEFT_OUT = dict.fromkeys(
    ("mlflow_autolog", "system_metrics", "tensorboard", "sample_pictures", "evaluation_report"), False
)


@pytest.fixture(scope="module")
def runner() -> Iterator[TrialRunner]:
    yield TrialRunner()
    tf.keras.backend.clear_session()


def job_of(store: pathlib.Path, **values: Any) -> TrialJob:
    config = ExperimentConfig.of(dataset="digits", model="mlp", epochs=2, store=str(store), verbose=0, **LEFT_OUT)
    return TrialJob(SweepTrial("first", 7, uuid.uuid4().hex, "0" * 32), config.replace(**values))


def run_of(job: TrialJob) -> Run:
    return Run(job.trial.run_id, run_folder(job.config.tracking.store, job.trial.run_id))


def go_on(event: EpochEnded) -> bool:
    return True


def test_a_trial_is_a_finished_run_that_knows_its_sweep(runner: TrialRunner, tmp_path: pathlib.Path) -> None:
    job = job_of(tmp_path)
    reported: list[EpochEnded] = []

    def report(event: EpochEnded) -> bool:
        reported.append(event)
        return True

    assert runner.run(job, report) == TrialEnded(7, Outcome.FINISHED)
    record = run_of(job).record()
    assert record["name"] == "first-0007"
    assert (record["sweep"], record["trial"], record["parent_run_id"]) == ("first", 7, "0" * 32)
    assert run_of(job).status() == Status.FINISHED
    assert [event.epoch for event in reported] == [1, 2]
    assert reported[record["best_epoch"] - 1].metrics["val_accuracy"] == record["metrics"]["val_accuracy"]


def test_a_trial_leaves_mlflow_to_the_driver(runner: TrialRunner, tmp_path: pathlib.Path) -> None:
    job = job_of(tmp_path)
    runner.run(job, go_on)
    assert run_of(job).record()["unsynced"] == ["MLflow"]
    assert not (tmp_path / "mlflow.db").exists()


def test_without_a_report_the_predictions_are_written_all_the_same(runner: TrialRunner, tmp_path: pathlib.Path) -> None:
    job = job_of(tmp_path)
    runner.run(job, go_on)
    written = {str(path.relative_to(run_of(job).path)) for path in (run_of(job).path / "evaluation").rglob("*.*")}
    assert written == {"evaluation/test/predictions.parquet", "evaluation/validation/compact.parquet"}
    assert "test_accuracy" in run_of(job).record()["metrics"]


def test_a_trial_that_is_given_up_is_pruned_with_its_checkpoints(runner: TrialRunner, tmp_path: pathlib.Path) -> None:
    job = job_of(tmp_path)
    ended = runner.run(job, lambda event: event.epoch < 1)
    assert ended == TrialEnded(7, Outcome.PRUNED, "pruned after epoch 1: other trials were better by then")
    assert run_of(job).status() == Status.PRUNED
    assert len(list(run_of(job).checkpoints_folder.glob("*.keras"))) == 2


def test_a_trial_that_was_pruned_goes_on_if_it_is_run_again(runner: TrialRunner, tmp_path: pathlib.Path) -> None:
    job = job_of(tmp_path)
    runner.run(job, lambda event: False)
    assert runner.run(job, go_on).outcome is Outcome.FINISHED
    epochs = run_of(job).points().query("key == 'val_accuracy'")["epoch"]
    assert list(epochs) == [1, 2]


def test_a_trial_that_diverges_says_so(runner: TrialRunner, tmp_path: pathlib.Path) -> None:
    job = job_of(tmp_path, learning_rate=1e30)
    ended = runner.run(job, go_on)
    assert ended.outcome is Outcome.DIVERGED
    assert "the loss is not finite" in ended.reason
    assert run_of(job).status() == Status.DIVERGED


def test_an_error_of_the_user_is_told_in_a_sentence(
    runner: TrialRunner, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = runner.run(job_of(tmp_path, model_args={"dropuot": 0.1}), go_on)
    assert ended.outcome is Outcome.FAILED
    assert "unknown argument 'dropuot': did you mean dropout" in ended.reason
    assert "Traceback" not in capsys.readouterr().err


def test_any_other_error_is_told_with_its_traceback(
    runner: TrialRunner,
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any, **values: Any) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(trial, "run_experiment", fail)
    assert runner.run(job_of(tmp_path), go_on) == TrialEnded(7, Outcome.FAILED, "ZeroDivisionError: by zero")
    assert "Traceback" in capsys.readouterr().err


def test_each_worker_uses_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus, chosen = ["gpu 0", "gpu 1"], []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: chosen.append((device, kind)))
    for number in ("0", "1", "2"):
        monkeypatch.setenv("DLEXP_GPU", number)
        TrialRunner()
    assert chosen == [("gpu 0", "GPU"), ("gpu 1", "GPU"), ("gpu 0", "GPU")]


def test_a_worker_without_a_number_uses_all_gpus_it_can_see(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[Any] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu 0", "gpu 1"] if kind == "GPU" else [])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *arguments: chosen.append(arguments))
    monkeypatch.delenv("DLEXP_GPU", raising=False)
    TrialRunner()
    assert chosen == []


def test_the_runner_of_a_sweep_is_preloaded_and_only_there() -> None:
    code = """
import sys
import dlexp.sweeps.trial
from dlexp.runs.environment import installed_packages
assert "dlexp.sweeps.preload" not in sys.modules
assert not {"sklearn.datasets", "dlexp.models.zoo"} & set(sys.modules)
assert not installed_packages.cache_info().currsize
import pkgutil
from dlexp.sweeps.session import RUNNER
assert pkgutil.resolve_name(RUNNER) is dlexp.sweeps.trial.TrialRunner
assert {"sklearn.datasets", "dlexp.models.zoo"} <= set(sys.modules)
assert installed_packages.cache_info().currsize
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pathlib.Path(__file__).parents[2])
