"""`dlexp sync`: whatever became of MLflow, it has the whole run afterwards, once."""

import json
import pathlib
import shutil
from typing import Any

import mlflow
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlexp import ExperimentConfig, run_experiment
from dlexp.commands.cli import main
from dlexp.runs.run import Run
from dlexp.runs.store import list_runs
from dlexp.tracking.mlflow.database import database_path
from tests.support.mlflow_store import client_of

QUICK: dict[str, Any] = {
    "model": "mlp", "model_args": {"hidden_sizes": [8]}, "epochs": 2, "verbose": 0, "tensorboard": False,
    "tags": {"note": "mine"},
}  # fmt: skip


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run; the tests work on copies of its store."""
    return run_experiment(ExperimentConfig.of(**QUICK, store=str(tmp_path_factory.mktemp("original")))).run


@pytest.fixture
def run(original: Run, tmp_path: pathlib.Path, quick_database: None) -> Run:
    """A copy of the finished run, without a database."""
    shutil.copytree(original.path.parents[2], tmp_path / "store")
    database_path(tmp_path / "store").unlink()
    return Run(original.id, tmp_path / "store" / "artifacts" / original.id / "artifacts")


def sync(run: Run, *words: str) -> int:
    return main(["dlexp", "sync", run.id[:8], f"--store={run.path.parents[2]}", *words])


def contents(run: Run) -> dict[str, Any]:
    """All that MLflow holds of a run, but what is sampled."""
    client = client_of(run.path.parents[2])
    found = client.get_run(run.id)
    models = client.search_logged_models([found.info.experiment_id])
    return {
        "info": (found.info.run_name, found.info.status, found.info.start_time, found.info.end_time),
        "artifacts": found.info.artifact_uri,
        "params": found.data.params,
        "note": found.data.tags["note"],
        "datasets": [(used.dataset.name, used.dataset.digest) for used in found.inputs.dataset_inputs],
        "points": sorted(
            (metric.key, metric.step, metric.value)
            for key in found.data.metrics
            if not key.startswith("system/")
            for metric in client.get_metric_history(run.id, key)
        ),
        "models": [(m.model_id, m.status, m.tags, sorted((x.key, x.value) for x in m.metrics or ())) for m in models],
        "outputs": [output.model_id for output in found.outputs.model_outputs],
    }


def test_deleted_database_is_filled_again_under_the_same_id(
    run: Run, original: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync(run) == 0
    reported, path = capsys.readouterr().out.splitlines()
    assert reported.startswith("MLflow: the run, ")
    assert reported.endswith("points, the best model")
    assert path == str(run.path)
    before, after = contents(original), contents(run)
    assert after["artifacts"] == run.path.as_uri()
    assert after["points"] == before["points"]
    assert after["datasets"] == before["datasets"]
    assert after["info"][:2] == before["info"][:2]
    lacking = before["params"].keys() - after["params"].keys()
    assert all(name.startswith("optimizer_") for name in lacking)  # of autolog, which saw the optimizer itself
    assert {**before["params"], **after["params"], "store": ""} == {**before["params"], "store": ""}
    artifacts = {artifact.path for artifact in client_of(run.path.parents[2]).list_artifacts(run.id)}
    assert artifacts >= {"checkpoints", "evaluation", "run.json"}
    ((_, status, tags, metrics),) = after["models"]
    assert (status, metrics) == ("READY", before["models"][0][3])
    assert tags["dlexp.weights_digest"] == run.record()["weights_digest"]


def test_second_sync_changes_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync(run) == 0
    before = contents(run)
    capsys.readouterr()
    assert sync(run) == 0
    assert capsys.readouterr().out == f"MLflow: up to date\n{run.path}\n"
    assert contents(run) == before


def test_sync_of_a_run_that_mlflow_has_changes_nothing(original: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(original)
    assert sync(original) == 0
    assert capsys.readouterr().out.startswith("MLflow: up to date\n")
    assert contents(original) == before


def test_empty_database_is_filled(run: Run) -> None:
    database_path(run.path.parents[2]).touch()
    assert sync(run) == 0
    assert len(contents(run)["points"]) > 10


def test_peak_memory_and_a_change_of_the_batch_size_are_filled_in(run: Run) -> None:
    run.update(batch_size_change="64 -> 128", peak_memory_bytes=3 * 2**30)
    assert sync(run) == 0
    found = client_of(run.path.parents[2]).get_run(run.id).data
    assert found.tags["batch_size_change"] == "64 -> 128"
    assert found.metrics["peak_memory_bytes"] == 3 * 2**30


def test_garbage_is_named_and_after_it_is_moved_away_a_new_one_is_made(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = database_path(run.path.parents[2])
    path.write_text("garbage" * 1000)
    assert sync(run) == 1
    shown = capsys.readouterr().err
    assert f"move '{path}' away" in shown
    assert shown.count("\n") == 1
    assert run.record()["unsynced"] == ["MLflow"]
    path.rename(path.with_name("damaged.db"))
    assert sync(run) == 0
    assert run.record()["unsynced"] == []


def test_single_points_that_are_missing_are_filled_in(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (run.path / "metrics.jsonl").read_text()
    lines = whole.splitlines(keepends=True)
    (run.path / "metrics.jsonl").write_text("".join(lines[:-3]))
    assert sync(run) == 0
    (run.path / "metrics.jsonl").write_text(whole)
    capsys.readouterr()
    assert sync(run) == 0
    assert capsys.readouterr().out.startswith("MLflow: 3 points\n")


def test_without_a_run_those_are_synced_that_a_tracker_failed_for(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"--store={run.path.parents[2]}"
    assert main(["dlexp", "sync", store]) == 0
    assert "--all syncs every run" in capsys.readouterr().err
    run.update(unsynced=["MLflow"])
    assert main(["dlexp", "sync", store]) == 0
    assert capsys.readouterr().out.endswith(f"{run.path}\n")
    assert main(["dlexp", "sync", "--all", store]) == 0
    assert capsys.readouterr().out == f"MLflow: up to date\n{run.path}\n"


def test_run_and_all_together_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync(run, "--all") == 2
    assert "and not both" in capsys.readouterr().err


def test_run_that_is_being_trained_is_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with run.hold():
        assert sync(run) == 1
    assert "is being trained by process" in capsys.readouterr().err
    assert not database_path(run.path.parents[2]).exists()


def test_run_that_was_killed_is_synced_as_killed_without_a_model(run: Run) -> None:
    run.update(status="RUNNING", ended=None)
    assert sync(run) == 0
    assert contents(run)["info"][1] == "KILLED"
    assert contents(run)["models"] == []
    assert list_runs(run.path.parents[2])["status"].tolist() == ["KILLED"]


def test_run_that_was_deleted_in_mlflow_is_left_deleted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync(run) == 0
    client_of(run.path.parents[2]).delete_run(run.id)
    assert sync(run) == 1
    assert "was deleted in MLflow" in capsys.readouterr().err


def test_best_model_loads_from_mlflow_and_its_weights_are_on_the_disk_once(original: Run) -> None:
    client = client_of(original.path.parents[2])
    (model,) = client.search_logged_models([client.get_run(original.id).info.experiment_id])
    folder = pathlib.Path(model.artifact_location.removeprefix("file://"))
    checkpoint = original.path / original.record()["best_checkpoint"]
    assert (folder / "data" / "model.keras").stat().st_ino == checkpoint.stat().st_ino
    loaded = mlflow.keras.load_model(str(folder))
    assert loaded.output_shape == (None, 10)
    spec = mlflow.models.Model.load(str(folder))
    (pixels,), (logits,) = spec.signature.inputs.inputs, spec.signature.outputs.inputs
    assert (pixels.shape, str(pixels.type), logits.shape) == ((-1, 8, 8, 1), "uint8", (-1, 10))
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    served = mlflow.pyfunc.load_model(str(folder)).predict(images)
    np.testing.assert_array_equal(served, loaded.predict(images, verbose=0))
    assert spec.metadata["class_names"] == list("0123456789")
    requirements = (folder / "requirements.txt").read_text()
    assert all(f"{name}==" in requirements for name in ("tensorflow", "keras", "numpy", "dlexp"))


def test_metrics_of_the_best_model_are_linked_to_it_and_to_the_dataset(original: Run) -> None:
    client, record = client_of(original.path.parents[2]), original.record()
    (model,) = client.search_logged_models([client.get_run(original.id).info.experiment_id])
    assert model.source_run_id == original.id
    assert {metric.key: metric.value for metric in model.metrics} == pytest.approx(record["metrics"])
    assert {(metric.dataset_name, metric.dataset_digest) for metric in model.metrics} == {
        ("digits", record["dataset_id"])
    }
    assert json.loads(model.tags["dlexp.class_names"]) == list("0123456789")


def test_tracker_that_failed_is_given_points_and_pictures_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((run.path / "config.json").read_text())
    (run.path / "config.json").write_text(json.dumps(config | {"tensorboard": True}))
    run.update(unsynced=["TensorBoard"])
    assert sync(run) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("TensorBoard: "))
    pictures = {path.relative_to(run.path).with_suffix("").as_posix() for path in run.path.rglob("*.png")}
    assert {"evaluation/test/confusion", "dataset/samples"} <= pictures
    for _ in range(2):
        events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
        events.Reload()
        assert set(events.Tags()["images"]) == pictures
        assert [len(events.Images(key)) for key in pictures] == [1] * len(pictures)
        assert len(events.Tensors("val_accuracy")) == QUICK["epochs"]
        assert sync(run) == 0
    assert "points" in line
