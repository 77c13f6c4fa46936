"""The MLflow database of a store: made whole or not at all, and by one process."""

import pathlib

import filelock

from dlexp.atomic import atomic_file


def make_database(path: pathlib.Path) -> None:
    """Makes MLflow's tables in a new sqlite database; does nothing where there is one.

    MLflow makes them one by one in place: a process killed meanwhile leaves a database that no later one can open, and
    two processes that begin at once get in each other's way.
    """
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock"), is_singleton=False):
        if path.exists():
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        for leftover in path.parent.glob(f".tmp-*{path.name}*"):  # of a killed process, as the lock is ours
            leftover.unlink()
        with atomic_file(path) as temporary:
            SqlAlchemyStore(f"sqlite:///{temporary}", (path.parent / "artifacts").as_uri()).engine.dispose()
