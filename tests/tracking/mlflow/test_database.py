"""What dlexp relies on in MLflow's database store without MLflow documenting it."""

import logging
import pathlib
import shutil
import sqlite3
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest

from dlexp.config.sections import TrackingConfig
from dlexp.runs.run import Run, artifacts_root, run_folder
from dlexp.tracking.mlflow.connection import find_or_create_experiment
from dlexp.tracking.mlflow.database import (
    close_dead_runs,
    database_path,
    forget_connections,
    make_database,
    quiet_logs,
    restore_run,
)
from tests.support.pins import Pin

RUN_ID = "0123456789abcdef0123456789abcdef"


def store_pin(what: str, file: str = "sqlalchemy_store.py") -> Pin:
    return Pin("MLflow", what, f"mlflow/store/tracking/{file}")


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A store with a new database, which takes MLflow seconds to make."""
    store = tmp_path_factory.mktemp("store")
    assert make_database(store)
    return store


@pytest.fixture
def client(made_store: pathlib.Path, tmp_path: pathlib.Path) -> mlflow.MlflowClient:
    """Of a copy of that database."""
    shutil.copy(database_path(made_store), database_path(tmp_path))
    return mlflow.MlflowClient(f"sqlite:///{database_path(tmp_path)}")


@store_pin("SqlAlchemyStore(uri, artifacts).engine")
def test_database_is_made_with_the_tables_of_mlflow(made_store: pathlib.Path) -> None:
    assert not make_database(made_store)
    (experiment,) = mlflow.MlflowClient(f"sqlite:///{database_path(made_store)}").search_experiments()
    assert experiment.artifact_location.startswith(artifacts_root(made_store).as_uri())


@store_pin("SqlAlchemyStore._engine_map")
def test_connections_to_a_deleted_database_are_forgotten(
    client: mlflow.MlflowClient, made_store: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    client.create_experiment("before")
    path = database_path(tmp_path)
    path.unlink()
    shutil.copy(database_path(made_store), path)
    forget_connections(tmp_path)
    client.create_experiment("after")
    with sqlite3.connect(path) as database:
        names = {name for (name,) in database.execute("SELECT name FROM experiments")}
    assert names == {"Default", "after"}


def columns_of(store: pathlib.Path, run_id: str) -> dict[str, Any]:
    """The row of a run, but for what differs from run to run, and its tags."""
    with sqlite3.connect(database_path(store)) as database:
        database.row_factory = sqlite3.Row
        (row,) = database.execute("SELECT * FROM runs WHERE run_uuid = ?", [run_id]).fetchall()
        tags = database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run_id]).fetchall()
    own = {"run_uuid", "artifact_uri", "user_id"}
    return {name: row[name] for name in row.keys() if name not in own} | {"tags": sorted(map(tuple, tags))}  # noqa: SIM118


@store_pin("the row that create_run adds, or SqlRun and SqlTag (dbmodels/models.py)")
def test_restored_run_is_the_row_that_create_run_adds(client: mlflow.MlflowClient, tmp_path: pathlib.Path) -> None:
    experiment_id = find_or_create_experiment(client, TrackingConfig(store=str(tmp_path), experiment="pins"))
    made = client.create_run(experiment_id, start_time=1000, tags={"dlexp.name": "run"}, run_name="run")
    run = Run(RUN_ID, run_folder(tmp_path, RUN_ID))
    restore_run(tmp_path, run, experiment_id=experiment_id, name="run", started=1000, tags={"dlexp.name": "run"})
    assert columns_of(tmp_path, RUN_ID) == columns_of(tmp_path, made.info.run_id)
    found = client.get_run(RUN_ID)
    assert (found.info.artifact_uri, found.data.tags["mlflow.runName"]) == (run.path.as_uri(), "run")


@pytest.fixture
def loud_libraries() -> Iterator[None]:
    """MLflow and alembic log as they do after their import, before dlexp has quieted them."""
    loud = {"mlflow": logging.INFO, "alembic": logging.INFO, "mlflow.store.db.utils": logging.NOTSET}
    levels = {name: logging.getLogger(name).level for name in loud}
    for name, level in loud.items():
        logging.getLogger(name).setLevel(level)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_new_database_is_made_without_messages_of_mlflow(
    tmp_path: pathlib.Path, loud_libraries: None, caplog: pytest.LogCaptureFixture
) -> None:
    assert make_database(tmp_path)
    assert caplog.messages == []


def test_empty_database_is_opened_without_messages_of_mlflow(
    tmp_path: pathlib.Path, loud_libraries: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As `dlexp ui` does: MLflow creates its tables in an empty file."""
    database_path(tmp_path).touch()
    close_dead_runs(tmp_path)
    assert database_path(tmp_path).stat().st_size > 0
    assert caplog.messages == []


@Pin("MLflow", "the logger of a database that fails", "mlflow/store/db/utils.py")
def test_traceback_of_a_locked_database_is_kept_off_the_terminal(
    client: mlflow.MlflowClient,
    tmp_path: pathlib.Path,
    loud_libraries: None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("mlflow.store.db.utils")
    client.search_experiments()
    with sqlite3.connect(database_path(tmp_path)) as database:
        database.execute("DROP TABLE experiments")
    noise = []
    for quiet in (lambda: None, quiet_logs):
        quiet()
        caplog.clear()
        with pytest.raises(mlflow.MlflowException):
            client.search_experiments()
        noise.append([record.name for record in caplog.records])
    assert noise == [[logger.name], []]
