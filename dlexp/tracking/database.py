"""The MLflow database of a store: made whole or not at all, by one process; and the runs in it that died."""

import os
import pathlib

import filelock

from dlexp.atomic import TEMPORARY_PREFIX, atomic_file
from dlexp.runs import RECORD_FILE, Run, Status, artifacts_root, run_folder


def database_path(store: str | pathlib.Path) -> pathlib.Path:
    """Absolute path of a store's database, whether it exists or not."""
    return pathlib.Path(store).resolve() / "mlflow.db"


def make_database(store: str | pathlib.Path) -> None:
    """Makes MLflow's tables in a new sqlite database; does nothing where there is one.

    MLflow makes them one by one in place: a process killed meanwhile leaves a database that no later one can open, and
    two processes that begin at once get in each other's way.
    """
    path = database_path(store)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock"), is_singleton=False):
        if path.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        for leftover in path.parent.glob(f"{TEMPORARY_PREFIX}*{path.name}*"):  # of a killed process: the lock is ours
            leftover.unlink()
        with atomic_file(path) as temporary:
            SqlAlchemyStore(f"sqlite:///{temporary}", artifacts_root(store).as_uri()).engine.dispose()


def close_dead_runs(store: str | pathlib.Path) -> None:
    """Closes runs of a store's database that are said to be running, and whose process was killed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{database_path(store)}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    for found in client.search_runs(experiments, "attributes.status = 'RUNNING'") if experiments else ():
        run = Run(found.info.run_id, run_folder(store, found.info.run_id))
        if (run.path / RECORD_FILE).is_file() and run.status() == Status.KILLED:
            client.set_terminated(run.id, status="KILLED")
