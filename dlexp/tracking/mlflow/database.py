"""The MLflow database of a store: made whole or not at all, by one process; and the runs in it that died.

The one place that knows `mlflow.store`, which MLflow does not document. What is relied on is tested in
`tests/tracking/mlflow/test_database.py`, which fails with "MLflow changed ..." and names the file of MLflow.
"""

import logging
import pathlib
from collections.abc import Mapping

import filelock

from dlexp.machine.atomic import TEMPORARY_PREFIX, atomic_file
from dlexp.runs.run import RECORD_FILE, Run, Status, artifacts_root, run_folder


def database_path(store: str | pathlib.Path) -> pathlib.Path:
    """Absolute path of a store's database, whether it exists or not."""
    return pathlib.Path(store).resolve() / "mlflow.db"


def make_database(store: str | pathlib.Path) -> bool:
    """Makes MLflow's tables in a new sqlite database; False where there is one already. An empty file is none.

    MLflow makes them one by one in place: a process killed meanwhile leaves a database that no later one can open, and
    two processes that begin at once get in each other's way.
    """
    path = database_path(store)
    if _has_contents(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock"), is_singleton=False):
        if _has_contents(path):
            return False
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        for leftover in path.parent.glob(f"{TEMPORARY_PREFIX}*{path.name}*"):  # of a killed process: the lock is ours
            leftover.unlink()
        with atomic_file(path) as temporary:
            SqlAlchemyStore(f"sqlite:///{temporary}", artifacts_root(store).as_uri()).engine.dispose()
        return True


def forget_connections(store: str | pathlib.Path) -> None:
    """Has MLflow connect to the store's database anew.

    It keeps connections for as long as a process lives, so that in a notebook they may be to a file that was deleted.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # Its constructor would use such a connection before anyone could close it.
    engine = SqlAlchemyStore._engine_map.get(f"sqlite:///{database_path(store)}")
    if engine is not None:
        engine.dispose()


def quiet_database_log() -> None:
    """Keeps tracebacks of a locked database off the terminal: writes are repeated, and failures reported by dlexp."""
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def _has_contents(path: pathlib.Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def restore_run(
    store: str | pathlib.Path, run: Run, *, experiment_id: str, name: str, started: int, tags: Mapping[str, str]
) -> None:
    """Makes the MLflow run of a run folder again in the store's database, under its own ID and with its own artifacts.

    MLflow's interface gives every new run an ID of its own choice; so this adds, by MLflow's own classes, the row that
    `SqlAlchemyStore.create_run` would add.

    Args:
        store: folder of the store.
        run: whose run folder becomes the artifacts.
        experiment_id: that it belongs to.
        name: of the run.
        started: milliseconds since 1970.
        tags: of the run.
    """
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.orm import Session

    row = SqlRun(
        run_uuid=run.id,
        name=name,
        artifact_uri=run.path.as_uri(),
        experiment_id=int(experiment_id),
        source_type="UNKNOWN",
        source_name="",
        entry_point_name="",
        source_version="",
        user_id="",
        status="RUNNING",
        start_time=started,
        lifecycle_stage="active",
    )
    row.tags = [SqlTag(key=key, value=value) for key, value in {**tags, "mlflow.runName": name}.items()]
    uri = f"sqlite:///{database_path(store)}"
    # A new store compares the schema with all its versions: for every trial of a sweep that would be most of the time.
    engine = SqlAlchemyStore._engine_map.get(uri) or SqlAlchemyStore(uri, artifacts_root(store).as_uri()).engine
    with Session(engine) as session, session.begin():
        session.add(row)


def close_dead_runs(store: str | pathlib.Path) -> None:
    """Closes runs of a store's database that are said to be running, and whose process was killed."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{database_path(store)}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for found in client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else ():
        run = Run(found.info.run_id, run_folder(store, found.info.run_id))
        if (run.path / RECORD_FILE).is_file() and run.status() == Status.KILLED:
            client.set_terminated(run.id, status="KILLED")
