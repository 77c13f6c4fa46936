"""The MLflow UI that `dlexp ui` opens, in a real browser."""

import json
import pathlib
from collections.abc import Iterator

import mlflow
import pytest

from dlexp.runs.store import list_runs
from dlexp.tracking.ui import serve_mlflow, serve_tensorboard
from tests.integration.conftest import dlexp, rendered, start_dlexp
from tests.support.ports import free_port
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A store of two runs on digits."""
    folder = tmp_path_factory.mktemp("ui")
    for model in ("mlp", "small_cnn"):
        dlexp("train", f"--model={model}", "--epochs=2", f"--run_name=run-{model}", cwd=folder)
    return folder / "mlruns"


@pytest.fixture(scope="module")
def url(store: pathlib.Path) -> Iterator[str]:
    with serve_mlflow(store, port=free_port()) as url:
        yield url


@pytest.fixture(scope="module")
def experiment_id(store: pathlib.Path) -> str:
    client = mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db")
    return client.get_experiment_by_name("dlexp").experiment_id


def test_runs_are_listed_by_name_with_their_dataset(url: str, experiment_id: str, tmp_path: pathlib.Path) -> None:
    page = rendered(f"{url}/#/experiments/{experiment_id}/runs", tmp_path)
    assert "run-mlp" in page
    assert "run-small_cnn" in page
    assert "digits" in page


def test_run_shows_params_metrics_and_dataset(
    url: str, store: pathlib.Path, experiment_id: str, tmp_path: pathlib.Path
) -> None:
    run = list_runs(store, where="model == 'mlp'").iloc[0]
    page = rendered(f"{url}/#/experiments/{experiment_id}/runs/{run['run_id']}", tmp_path)
    for text in ("learning_rate", "test_accuracy", "val_accuracy", run["dataset_id"]):
        assert text in page


def test_artifacts_of_a_run_are_its_folder(
    url: str, store: pathlib.Path, experiment_id: str, tmp_path: pathlib.Path
) -> None:
    run = list_runs(store, where="model == 'mlp'").iloc[0]
    page = rendered(f"{url}/#/experiments/{experiment_id}/runs/{run['run_id']}/artifacts", tmp_path)
    for text in ("checkpoints", "evaluation", "metrics.jsonl", "run.flags"):
        assert text in page


def test_best_model_is_shown_in_the_experiment_and_with_its_schema(
    url: str, store: pathlib.Path, experiment_id: str, tmp_path: pathlib.Path
) -> None:
    (model,) = (
        model
        for model in mlflow.MlflowClient(f"sqlite:///{store}/mlflow.db").search_logged_models([experiment_id])
        if model.name == "run-mlp"
    )
    page = rendered(f"{url}/#/experiments/{experiment_id}/models", tmp_path / "list")
    assert "run-mlp" in page
    assert "Ready" in page
    page = rendered(f"{url}/#/experiments/{experiment_id}/models/{model.model_id}", tmp_path / "one")
    for text in ("test_accuracy", "learning_rate", "digits"):
        assert text in page


def test_two_runs_are_compared(url: str, store: pathlib.Path, experiment_id: str, tmp_path: pathlib.Path) -> None:
    ids = json.dumps(list_runs(store)["run_id"].tolist(), separators=(",", ":"))
    page = rendered(f'{url}/#/compare-runs?runs={ids}&experiments=["{experiment_id}"]', tmp_path)
    assert "run-mlp" in page
    assert "run-small_cnn" in page


def test_tensorboard_finds_the_runs(store: pathlib.Path) -> None:
    import urllib.request

    with (
        serve_tensorboard(store, port=free_port()) as url,
        urllib.request.urlopen(f"{url}/data/runs", timeout=30) as answer,
    ):
        runs = json.load(answer)
    assert len(runs) == 2


def test_run_is_logged_to_a_server_with_its_folder(url: str, tmp_path: pathlib.Path) -> None:
    dlexp("train", "--model=mlp", "--epochs=1", f"--tracking_uri={url}", "--experiment=remote", cwd=tmp_path)
    (row,) = list_runs(tmp_path / "mlruns").to_dict("records")
    client = mlflow.MlflowClient(url)
    run = client.get_run(row["run_id"])
    assert (run.info.status, run.data.params["model"]) == ("FINISHED", "mlp")
    assert run.data.metrics["test_accuracy"] == pytest.approx(row["test_accuracy"])
    artifacts = {artifact.path for artifact in client.list_artifacts(row["run_id"])}
    assert {"checkpoints", "evaluation", "run.json", "metrics.jsonl"} <= artifacts
    record = json.loads(pathlib.Path(client.download_artifacts(row["run_id"], "run.json")).read_text())
    assert record["status"] == "FINISHED"


def test_killed_run_is_resumed_in_the_same_run_on_a_server(url: str, tmp_path: pathlib.Path) -> None:
    flags = ("--model=mlp", "--epochs=40", "--verbose=0", f"--tracking_uri={url}", "--experiment=killed")
    process = start_dlexp("train", *flags, cwd=tmp_path)
    wait_for(lambda: any(tmp_path.rglob("*__last__*.keras")))
    process.kill()
    process.communicate()
    (row,) = list_runs(tmp_path / "mlruns").to_dict("records")
    assert row["status"] == "KILLED"
    dlexp("train", f"--resume={row['run_id']}", "--verbose=0", cwd=tmp_path)
    client = mlflow.MlflowClient(url)
    history = client.get_metric_history(row["run_id"], "val_accuracy")
    assert sorted(metric.step for metric in history) == [20 * epoch for epoch in range(1, 41)]
    assert client.get_run(row["run_id"]).info.status == "FINISHED"
    experiment = client.get_experiment_by_name("killed")
    assert len(client.search_runs([experiment.experiment_id])) == 1
