"""A store's MLflow database for tests: copied, as MLflow takes more than a second to make one; and a look into it."""

import atexit
import functools
import pathlib
import shutil
import tempfile

import mlflow

from dlexp.tracking.mlflow.database import database_path, make_database, restore_logs


@functools.cache
def _empty_database() -> pathlib.Path:
    store = tempfile.mkdtemp(prefix="dlexp-test-store-")
    atexit.register(shutil.rmtree, store, ignore_errors=True)
    make_database(store)
    restore_logs()
    return database_path(store)


def copy_database(store: str | pathlib.Path) -> bool:
    """Does what `make_database` does, in no time."""
    path = database_path(store)
    if path.exists() and path.stat().st_size > 0:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(_empty_database(), path)
    return True


def client_of(store: pathlib.Path) -> mlflow.MlflowClient:
    """A client of the store's database."""
    return mlflow.MlflowClient(f"sqlite:///{database_path(store)}")
