"""Connects to MLflow: to the database of a store, or to a server that must answer within a few seconds."""

import logging
import pathlib
import sqlite3
import urllib.error
import urllib.request

import mlflow
import requests

from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError, one_line
from dlexp.runs.run import artifacts_root
from dlexp.tracking.mlflow.database import database_path, forget_connections, make_database, quiet_logs

_PROBE_SECONDS = 5
# With this tag the UI shows the runs of an experiment first, not traces of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_log = logging.getLogger(__name__)


def store_uri(tracking: TrackingConfig) -> str:
    """Returns the tracking URI: the given server, or the sqlite database of the store."""
    return tracking.tracking_uri or f"sqlite:///{database_path(tracking.store)}"


def connect(tracking: TrackingConfig) -> mlflow.MlflowClient:
    """Returns a client of the server, or of the database of the store, which is created if it does not exist.

    Raises:
        StoreError: the server does not answer.
    """
    quiet_logs()
    if tracking.tracking_uri:
        _check_server(tracking.tracking_uri)
    else:
        if make_database(tracking.store):
            _warn_of_file_store(tracking.store)
        forget_connections(tracking.store)
    return mlflow.MlflowClient(store_uri(tracking))


def unusable(tracking: TrackingConfig, err: Exception) -> StoreError:
    """Returns the error that says why MLflow cannot be used and what to do."""
    if isinstance(err, StoreError):
        return err
    mend = (
        "check --tracking_uri"
        if tracking.tracking_uri
        else f"move {str(database_path(tracking.store))!r} away if it is damaged; dlexp sync --all then fills a new one"
    )
    return StoreError(f"MLflow cannot use {store_uri(tracking)!r} ({type(err).__name__}: {one_line(err)}): {mend}")


def find_or_create_experiment(client: mlflow.MlflowClient, tracking: TrackingConfig) -> str:
    """Returns the ID of the experiment, which is created if needed; in a store its artifacts are the run folders."""
    found = client.get_experiment_by_name(tracking.experiment)
    if found is not None:
        return str(found.experiment_id)
    location = None if tracking.tracking_uri else artifacts_root(tracking.store).as_uri()
    try:
        return str(client.create_experiment(tracking.experiment, artifact_location=location, tags=_EXPERIMENT_TAGS))
    except mlflow.MlflowException:
        # Another process created it in the meantime.
        found = client.get_experiment_by_name(tracking.experiment)
        if found is None:
            raise
        return str(found.experiment_id)


def will_pass(error: Exception) -> bool:
    """Whether an error is temporary: the database is locked, or the server does not answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return True
        if isinstance(cause, requests.RequestException):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _check_server(uri: str) -> None:
    """Raises StoreError if nothing answers at an http address; any answer is accepted."""
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as err:
        raise StoreError(
            f"the MLflow server {uri!r} does not answer ({err}): start it, or check --tracking_uri"
        ) from err


def _warn_of_file_store(store: str) -> None:
    """Warns, when the database of a store is created, that an old MLflow file store in its folder is not read."""
    if (pathlib.Path(store) / "0" / "meta.yaml").is_file():
        _log.warning(
            "store %r also holds an old MLflow file store, which dlexp neither reads nor changes: view it with "
            "MLFLOW_ALLOW_FILE_STORE=true mlflow server --backend-store-uri %s",
            store, pathlib.Path(store).resolve().as_uri(),
        )  # fmt: skip
