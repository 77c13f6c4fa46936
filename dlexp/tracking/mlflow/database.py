"""The MLflow database of a store: created atomically by one process, with runs that can be restored or closed.

The one place that knows `mlflow.store`, which MLflow does not document. What is relied on is tested in
`tests/tracking/mlflow/test_database.py`, which fails with "MLflow changed ..." and names the file of MLflow.
"""

import logging
import pathlib
from collections.abc import Mapping

import filelock

from dlexp.machine.atomic import TEMPORARY_PREFIX, atomic_file
from dlexp.runs.run import RECORD_FILE, Run, Status, artifacts_root, run_folder

_QUIET_LEVELS = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
}
_replaced_levels: dict[str, int] = {}


def database_path(store: str | pathlib.Path) -> pathlib.Path:
    """Returns the absolute path of the database of a store, whether it exists or not."""
    return pathlib.Path(store).resolve() / "mlflow.db"


def make_database(store: str | pathlib.Path) -> bool:
    """Creates a new sqlite database with MLflow's tables; returns False if there is one. An empty file does not count.

    MLflow creates the tables one by one in place. A process that is killed while it does so leaves a database that
    cannot be opened, and two processes that start at the same time disturb each other.
    """
    path = database_path(store)
    if _has_contents(path):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock"), is_singleton=False):
        if _has_contents(path):
            return False
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        quiet_logs()
        for leftover in path.parent.glob(f"{TEMPORARY_PREFIX}*{path.name}*"):  # of a killed process: the lock is ours
            leftover.unlink()
        with atomic_file(path) as temporary:
            SqlAlchemyStore(f"sqlite:///{temporary}", artifacts_root(store).as_uri()).engine.dispose()
        return True


def forget_connections(store: str | pathlib.Path) -> None:
    """Makes MLflow open new connections to the database of a store.

    MLflow keeps connections until the process ends. In a notebook they may belong to a file that was deleted.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # The constructor would already use such a connection.
    engine = SqlAlchemyStore._engine_map.get(f"sqlite:///{database_path(store)}")
    if engine is not None:
        engine.dispose()


def quiet_logs() -> None:
    """Keeps messages on new tables, migrations and experiments, and tracebacks of a locked database, off the terminal.

    dlexp repeats writes and reports failures itself. Call it after MLflow is imported: the import sets the levels.
    """
    for name, level in _QUIET_LEVELS.items():
        logger = logging.getLogger(name)
        _replaced_levels.setdefault(name, logger.level)
        logger.setLevel(level)


def restore_logs() -> None:
    """Puts back the levels that `quiet_logs` replaced."""
    while _replaced_levels:
        name, level = _replaced_levels.popitem()
        logging.getLogger(name).setLevel(level)


def _has_contents(path: pathlib.Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def restore_run(
    store: str | pathlib.Path, run: Run, *, experiment_id: str, name: str, started: int, tags: Mapping[str, str]
) -> None:
    """Creates the MLflow run of a run folder again in the database of a store, with the same ID and artifacts.

    MLflow's interface chooses the ID of every new run. This function therefore adds, with MLflow's own classes, the row
    that `SqlAlchemyStore.create_run` would add.

    Args:
        store: folder of the store.
        run: the run; its folder becomes the artifacts.
        experiment_id: the experiment of the run.
        name: name of the run.
        started: start time in milliseconds since 1970.
        tags: tags of the run.
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
    # A new store checks the schema against all migrations, which would take most of the time of every trial's copy.
    engine = SqlAlchemyStore._engine_map.get(uri) or SqlAlchemyStore(uri, artifacts_root(store).as_uri()).engine
    with Session(engine) as session, session.begin():
        session.add(row)


def close_dead_runs(store: str | pathlib.Path) -> None:
    """Closes runs that the database of a store marks as running and whose process was killed."""
    import mlflow

    quiet_logs()
    client = mlflow.MlflowClient(f"sqlite:///{database_path(store)}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for found in client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else ():
        run = Run(found.info.run_id, run_folder(store, found.info.run_id))
        if (run.path / RECORD_FILE).is_file() and run.status() == Status.KILLED:
            client.set_terminated(run.id, status="KILLED")
