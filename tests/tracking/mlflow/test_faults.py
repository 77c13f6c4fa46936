"""MLflow locked, lost, garbage, unreachable or dying: the run is complete, and MLflow has it in the end."""

import contextlib
import logging
import multiprocessing
import pathlib
import re
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from typing import Any

import mlflow
import numpy as np
import pytest
import sqlalchemy
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from dlexp import ExperimentConfig, resume_experiment, run_experiment
from dlexp.commands.cli import main
from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.machine.timestamps import now
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status, create_run, run_folder
from dlexp.runs.store import iterate_runs
from dlexp.tracking import write_queue
from dlexp.tracking.base import RunDescription
from dlexp.tracking.mlflow import connection, open_run, system_metrics
from dlexp.tracking.mlflow.database import database_path
from dlexp.tracking.mlflow.tracker import MlflowTracker
from dlexp.tracking.ui import HOST, serve_mlflow
from dlexp.tracking.write_queue import WriteQueue
from tests.support import mlflow_writer
from tests.support.mlflow_store import client_of, copy_database
from tests.support.ports import free_port

PROCESSES = 16
pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")


def quick(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    fixed = {"model": "mlp", "model_args": {"hidden_sizes": [8]}, "epochs": 2, "verbose": 0, "tensorboard": False}
    return ExperimentConfig.of(**fixed | {"store": str(store)} | values)


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Is released whenever a write of a tracker has failed; it is done again soon."""
    found, construct = threading.Semaphore(0), WriteQueue.__init__

    def watch(queue: WriteQueue, will_pass: Callable[[Exception], bool], **settings: Any) -> None:
        def note(error: Exception) -> bool:
            found.release()
            return will_pass(error)

        construct(queue, note, **settings)

    monkeypatch.setattr(WriteQueue, "__init__", watch)
    monkeypatch.setattr(write_queue, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(write_queue, "_LAST_PAUSE_SECONDS", 0.01)
    return found


@pytest.fixture
def impatient_sqlite() -> Iterator[None]:
    """MLflow waits 50 ms for a database that is locked, in place of 20 s."""

    def shorten(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return re.sub(r"(?<=busy_timeout = )\d+", "50", statement), parameters

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", shorten, retval=True)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", shorten)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of one epoch; tests work on copies of its store."""
    return run_experiment(quick(tmp_path_factory.mktemp("trained"), epochs=1)).run


@pytest.fixture
def run(trained: Run, tmp_path: pathlib.Path) -> Run:
    """A copy of the trained run, in a store without a database."""
    shutil.copytree(trained.path.parents[2], tmp_path, dirs_exist_ok=True)
    database_path(tmp_path).unlink()
    return Run(trained.id, run_folder(tmp_path, trained.id))


@pytest.fixture
def opened(tmp_path: pathlib.Path) -> tuple[MlflowTracker, RunDescription]:
    """A tracker whose run was started."""
    config = quick(tmp_path, system_metrics=False)
    tracker = MlflowTracker(config.tracking)
    run = create_run(tmp_path, tracker.claim_run("run"), name="run", config=config)
    description = RunDescription(run, "run", config, "digits", "0123456789abcdef", {}, {})
    tracker.start(description)
    return tracker, description


def points(steps: range, **values: float) -> list[Point]:
    return [Point(key, step, 1, value, now()) for step in steps for key, value in (values or {"loss": 0.5}).items()]


def test_many_processes_write_into_one_store_and_nothing_is_lost(tmp_path: pathlib.Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.killing_worker", "tests.support.mlflow_writer"])
    workers = [context.Process(target=mlflow_writer.write_run, args=(str(tmp_path), n)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * PROCESSES
    client, runs = client_of(tmp_path), list(iterate_runs(tmp_path))
    assert len(runs) == PROCESSES
    for run in runs:
        assert client.get_run(run.id).info.status == "FINISHED"
        steps = [metric.step for metric in client.get_metric_history(run.id, "loss")]
        assert sorted(steps) == list(range(mlflow_writer.POINTS))


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Holds a database locked, as another process would."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@pytest.mark.usefixtures("impatient_sqlite")
def test_points_of_a_database_that_is_locked_for_longer_than_a_write_waits_arrive_later(
    failures: threading.Semaphore, opened: tuple[MlflowTracker, RunDescription]
) -> None:
    tracker, description = opened
    store = description.run.path.parents[2]
    with locked(database_path(store)):
        for step in range(50):
            tracker.log_points(points(range(step, step + 1)))
        for _ in range(3):
            assert failures.acquire(timeout=60)
    tracker.finish(Status.FINISHED)
    history = client_of(store).get_metric_history(description.run.id, "loss")
    assert [metric.step for metric in history] == list(range(50))
    assert client_of(store).get_run(description.run.id).info.status == "FINISHED"


def test_start_waits_for_a_database_that_is_locked(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, create_run = [], mlflow.MlflowClient.create_run

    def start_late(self: mlflow.MlflowClient, *given: Any, **arguments: Any) -> Any:
        starts.append(arguments)
        if len(starts) < 3:
            with locked(database_path(tmp_path)), sqlite3.connect(database_path(tmp_path), timeout=0) as connection:
                connection.execute("SELECT * FROM runs")
        return create_run(self, *given, **arguments)

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", start_late)
    tracker = MlflowTracker(quick(tmp_path, system_metrics=False).tracking)
    run_id = tracker.claim_run("run")
    tracker.finish(Status.FINISHED)
    assert len(starts) == 3
    assert [run.info.run_id for run in client_of(tmp_path).search_runs(["1"])] == [run_id]


def test_start_that_fails_after_the_run_was_made_closes_it_as_failed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(open_run, "SystemSampler", fail)
    config = quick(tmp_path)
    tracker = MlflowTracker(config.tracking)
    run = create_run(tmp_path, tracker.claim_run("run"), name="run", config=config)
    with pytest.raises(StoreError, match="no such device"):
        tracker.start(RunDescription(run, "run", config, "digits", "0" * 16, {}, {}))
    assert [run.info.status for run in client_of(tmp_path).search_runs(["1"])] == ["FAILED"]


@pytest.mark.parametrize("damage", ["deleted", "empty", "garbage"])
def test_database_that_is_lost_during_a_run_is_told_and_can_be_filled_in(
    tmp_path: pathlib.Path, damage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, log_points = database_path(tmp_path), MlflowTracker.log_points

    def lose(self: MlflowTracker, new: Any) -> None:
        monkeypatch.setattr(MlflowTracker, "log_points", log_points)
        if damage == "deleted":
            path.unlink()
        else:
            path.write_text("" if damage == "empty" else "garbage" * 100_000)
        log_points(self, new)

    monkeypatch.setattr(MlflowTracker, "log_points", lose)
    run = run_experiment(quick(tmp_path)).run
    assert run.record()["status"] == "FINISHED"
    assert run.record()["unsynced"] == ["MLflow"]
    assert caplog.text.count("MLflow failed") == 1
    assert f"dlexp sync {run.id[:8]} --store={tmp_path}" in caplog.text
    path.unlink(missing_ok=True)
    assert main(["dlexp", "sync", run.id, f"--store={tmp_path}"]) == 0
    assert client_of(tmp_path).get_run(run.id).data.metrics["test_accuracy"] == run.record()["metrics"]["test_accuracy"]


def test_resume_after_the_database_was_deleted_goes_on_under_the_same_id(run: Run, tmp_path: pathlib.Path) -> None:
    resume_experiment(run.path, epochs=2)
    client = client_of(tmp_path)
    assert client.get_run(run.id).info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run.id, "val_accuracy")] == [20, 40]
    assert run.record()["unsynced"] == []


def test_resume_changes_no_param_and_repeats_nothing(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    run = run_experiment(quick(tmp_path, epochs=1)).run
    resume_experiment(run.path, epochs=3)
    assert "Changing param values" not in caplog.text
    assert "MLflow failed" not in caplog.text
    client = client_of(tmp_path)
    found = client.get_run(run.id)
    for key in found.data.metrics.keys() - {"peak_memory_bytes"}:
        steps = [metric.step for metric in client.get_metric_history(run.id, key)]
        assert len(steps) == len(set(steps)), key
    assert found.data.metrics["peak_memory_bytes"] == run.record()["peak_memory_bytes"]
    assert len(found.inputs.dataset_inputs) == 1


def test_old_file_store_in_the_same_folder_is_told_once_and_left_alone(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "meta.yaml").write_text("artifact_location: ./mlruns/0\nexperiment_id: '0'\nname: Default\n")
    before = (tmp_path / "0" / "meta.yaml").read_bytes()
    assert run_experiment(quick(tmp_path, epochs=1)).run.record()["status"] == "FINISHED"
    tracker = MlflowTracker(quick(tmp_path, system_metrics=False).tracking)
    tracker.claim_run("another")
    tracker.finish(Status.FINISHED)
    assert caplog.text.count("old MLflow file store") == 1
    assert "MLFLOW_ALLOW_FILE_STORE=true" in caplog.text
    assert (tmp_path / "0" / "meta.yaml").read_bytes() == before


def test_long_params_and_values_that_are_not_finite_raise_nothing(tmp_path: pathlib.Path) -> None:
    config = quick(tmp_path, tags={"long": "x" * 4000})
    tracker = MlflowTracker(config.tracking)
    run = create_run(tmp_path, tracker.claim_run("run"), name="run", config=config)
    tracker.start(RunDescription(run, "run", config, "digits", "0" * 16, {}, {"parent": "y" * 100_000}))
    tracker.log_points(points(range(3), nan=float("nan"), large=float("inf"), small=float("-inf")))
    tracker.finish(Status.FINISHED)
    found = client_of(tmp_path).get_run(run.id)
    assert len(found.data.params["parent"]) == 6000
    assert np.isnan(found.data.metrics["nan"])


def test_system_metrics_are_sampled_and_a_resume_repeats_no_step(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_metrics, "_FIRST_PAUSE_SECONDS", 0.01)
    config, samples = quick(tmp_path), threading.Semaphore(0)
    collect = SystemMetricsMonitor.collect_metrics

    def note(monitor: SystemMetricsMonitor) -> None:
        samples.release()
        collect(monitor)

    monkeypatch.setattr(SystemMetricsMonitor, "collect_metrics", note)
    for attempt in range(2):
        tracker = MlflowTracker(config.tracking)
        run = next(iterate_runs(tmp_path), None)
        run = run or create_run(tmp_path, tracker.claim_run("run"), name="run", config=config)
        description = RunDescription(run, "run", config, "digits", "0" * 16, {}, {})
        tracker.resume(description, []) if attempt else tracker.start(description)
        for _ in range(2):
            assert samples.acquire(timeout=60)
        tracker.finish(Status.FINISHED)
    history = client_of(tmp_path).get_metric_history(
        next(iterate_runs(tmp_path)).id, "system/cpu_utilization_percentage"
    )
    assert [metric.step for metric in history] == list(range(len(history)))
    assert len(history) >= 4


def test_finish_does_not_wait_for_the_next_sample(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "_FIRST_PAUSE_SECONDS", 1e6)
    config = quick(tmp_path)
    tracker = MlflowTracker(config.tracking)
    run = create_run(tmp_path, tracker.claim_run("run"), name="run", config=config)
    tracker.start(RunDescription(run, "run", config, "digits", "0" * 16, {}, {}))
    assert "system-metrics" in {thread.name for thread in threading.enumerate()}
    tracker.finish(Status.FINISHED)
    assert "system-metrics" not in {thread.name for thread in threading.enumerate()}


def test_system_metrics_can_be_turned_off(opened: tuple[MlflowTracker, RunDescription]) -> None:
    names = {thread.name for thread in threading.enumerate()}
    assert "system-metrics" not in names


@pytest.fixture
def silent_server() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield f"http://{HOST}:{listener.getsockname()[1]}"


def test_server_that_never_answers_is_given_up(
    silent_server: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_PROBE_SECONDS", 0.1)
    with pytest.raises(StoreError, match="does not answer"):
        MlflowTracker(TrackingConfig(store=str(tmp_path), tracking_uri=silent_server)).claim_run("run")


def test_run_of_an_unreachable_server_is_complete_and_sync_fills_another_one_in(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        run = run_experiment(quick(tmp_path / "mine", tracking_uri=f"http://{HOST}:{free_port()}", epochs=1)).run
    assert run.record()["status"] == "FINISHED"
    assert run.record()["unsynced"] == ["MLflow"]
    copy_database(tmp_path / "server")
    with serve_mlflow(tmp_path / "server", port=free_port()) as url:
        words = ["dlexp", "sync", run.id, f"--store={tmp_path / 'mine'}", f"--tracking_uri={url}"]
        for _ in range(2):
            assert main(words) == 0
            run_id = run.record()["mlflow_run_id"]
        client = mlflow.MlflowClient(url)
        found = client.get_run(run_id)
        assert (found.info.status, found.data.tags["dlexp.run_id"]) == ("FINISHED", run.id)
        experiment = found.info.experiment_id
        assert len(client.search_runs([experiment])) == 1
        (model,) = client.search_logged_models([experiment])
        assert model.status == "READY"
        assert {"checkpoints", "evaluation", "metrics.jsonl"} <= {
            artifact.path for artifact in client.list_artifacts(run_id)
        }
        for key in found.data.metrics.keys() - {"peak_memory_bytes"}:
            assert len(client.get_metric_history(run_id, key)) == len(run.points().query("key == @key"))
        (peak,) = client.get_metric_history(run_id, "peak_memory_bytes")
        assert peak.value == run.record()["peak_memory_bytes"]
    assert "up to date" in capsys.readouterr().out


def test_server_that_dies_does_not_hold_up_the_training_and_is_told_at_the_end(
    failures: threading.Semaphore, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_run, "_SERVER_GRACE_SECONDS", 0.0)
    copy_database(tmp_path / "server")
    with serve_mlflow(tmp_path / "server", port=free_port()) as url:
        config = quick(tmp_path / "mine", tracking_uri=url)
        tracker = MlflowTracker(config.tracking)
        run = create_run(tmp_path / "mine", tracker.claim_run("run"), name="run", config=config)
        tracker.start(RunDescription(run, "run", config, "digits", "0" * 16, {}, {}))
        tracker.log_points(points(range(3)))
    for step in range(3, 6):
        tracker.log_points(points(range(step, step + 1)))
        assert failures.acquire(timeout=60)  # the writes of previous steps are not given up yet
    with pytest.raises(mlflow.MlflowException):
        tracker.finish(Status.FINISHED)
