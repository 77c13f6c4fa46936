"""The MLflow run that this process trains: created or opened, written through a queue, and closed.

It is written by its ID through a client of dlexp's store. The state of MLflow in this process stays that of the caller:
tracking URI, `MLFLOW_TRACKING_URI` and active run.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import mlflow
from mlflow.entities import Metric, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.machine.timestamps import now
from dlexp.runs.points import Point
from dlexp.runs.run import RECORD_FILE, Run, Status
from dlexp.tracking.base import BestModel, RunDescription
from dlexp.tracking.mlflow.connection import connect, find_or_create_experiment, store_uri, unusable, will_pass
from dlexp.tracking.mlflow.database import close_dead_runs, database_path, restore_logs
from dlexp.tracking.mlflow.logged_model import register_best
from dlexp.tracking.mlflow.runs import (
    MLFLOW_STATUS,
    fill_in,
    find_or_make_run,
    is_there,
    tag_batch_size_change,
    tag_own_status,
    write_dataset,
    write_params,
    write_peak_memory,
    write_points,
)
from dlexp.tracking.mlflow.system_metrics import SystemSampler
from dlexp.tracking.write_queue import WriteQueue

# Start and end of a run wait this long for a locked database. The end waits this long for a server that is down.
_DATABASE_GRACE_SECONDS, _SERVER_GRACE_SECONDS = 60.0, 10.0
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class ClaimedRun:
    """An MLflow run of this process, before anything is written to it.

    Attributes:
        tracking: store or server of the run.
        client: client of the server or the store.
        id: ID of the run, 32 hex digits.
    """

    tracking: TrackingConfig
    client: mlflow.MlflowClient
    id: str


def claim_run(tracking: TrackingConfig, name: str, run: Run | None = None) -> ClaimedRun:
    """Creates an MLflow run, or opens an existing one.

    A run of the caller that is active in the same store becomes its parent.

    Args:
        tracking: store or server, experiment, tags.
        name: name of the run.
        run: the run to open; if MLflow does not have it, it is created again.

    Raises:
        StoreError: the database or the server cannot be used.
    """
    try:
        client = connect(tracking)
        return ClaimedRun(tracking, client, _begin_run(client, tracking, name, run))
    except Exception as err:
        restore_logs()
        # The exceptions of sqlalchemy, alembic, requests and MLflow have no common base class.
        raise unusable(tracking, err) from err


def _begin_run(client: mlflow.MlflowClient, tracking: TrackingConfig, name: str, run: Run | None) -> str:
    """Begins the MLflow run; waits while other processes that start at the same time lock the database."""
    give_up = time.monotonic() + _DATABASE_GRACE_SECONDS
    while True:
        try:
            return _reopen_run(client, tracking, name, run) if run else _create_run(client, tracking, name)
        except Exception as err:
            if tracking.tracking_uri or not will_pass(err) or time.monotonic() > give_up:
                raise
            time.sleep(_PAUSE_SECONDS)


def _reopen_run(client: mlflow.MlflowClient, tracking: TrackingConfig, name: str, run: Run) -> str:
    run_id, _ = find_or_make_run(client, tracking, run)
    client.update_run(run_id, status="RUNNING", name=name)
    client.log_batch(run_id, tags=[RunTag(key, str(value)) for key, value in tracking.tags.items()])
    return run_id


def _create_run(client: mlflow.MlflowClient, tracking: TrackingConfig, name: str) -> str:
    tags = {key: str(value) for key, value in tracking.tags.items()}
    # `resolve_tags` adds user, script and commit, as `mlflow.start_run` does.
    tags = resolve_tags(tags) | _parent_tag(client, store_uri(tracking))
    made = client.create_run(find_or_create_experiment(client, tracking), tags=tags, run_name=name)
    return str(made.info.run_id)


def _parent_tag(client: mlflow.MlflowClient, uri: str) -> dict[str, str]:
    """The tag of a run below the caller's active run; empty if there is none, or if it is in another store."""
    active = mlflow.active_run()
    if active is None or mlflow.get_tracking_uri() != uri or not is_there(client, active.info.run_id):
        return {}
    return {MLFLOW_PARENT_RUN_ID: active.info.run_id}


def abandon_run(claimed: ClaimedRun, status: Status) -> None:
    """Closes a run that cannot be written further. Errors are ignored: it is closed already, or its store is lost."""
    with contextlib.suppress(Exception):
        claimed.client.set_terminated(claimed.id, MLFLOW_STATUS[status])
    restore_logs()


class OpenRun:
    """An open MLflow run.

    A separate thread writes, in order, so that a busy database or a server that is down does not delay the training.
    Every method raises the permanent error of an earlier write, if there was one, and closes the run.

    Args:
        claimed: the MLflow run.
        description: description of the run.
    """

    def __init__(self, claimed: ClaimedRun, description: RunDescription) -> None:
        self._tracking, self._client, self._id = claimed.tracking, claimed.client, claimed.id
        self._claimed = claimed
        self._description = description
        self._database = self._database_identity()
        grace = _SERVER_GRACE_SECONDS if self._tracking.tracking_uri else _DATABASE_GRACE_SECONDS
        self._queue = WriteQueue(will_pass, grace_s=grace)
        self._sampler: SystemSampler | None = None
        if self._tracking.system_metrics:
            self._sampler = SystemSampler(self._id, store_uri(self._tracking), self._put_sample)

    @classmethod
    def of(cls, claimed: ClaimedRun, description: RunDescription) -> Self:
        """Opens a claimed run.

        Raises:
            StoreError: the run cannot be opened; it is then closed as failed.
        """
        try:
            return cls(claimed, description)
        except Exception as err:
            abandon_run(claimed, Status.FAILED)
            raise unusable(claimed.tracking, err) from err

    def write_description(self) -> None:
        """Writes the params, the dataset, and whether the batch size differs from that of other runs."""
        self._put(lambda: write_params(self._client, self._id, self._description.params()))
        self._put(lambda: write_dataset(self._client, self._id, self._description))
        self._put(lambda: tag_batch_size_change(self._client, self._id, self._description.run.record()))

    def fill_in(self, points: Sequence[Point]) -> None:
        """Writes the params, the dataset and the points that MLflow lacks."""
        known = list(points)
        self._put(lambda: fill_in(self._client, self._id, self._description, known))

    def write_points(self, points: Sequence[Point]) -> None:
        """Writes points as metrics."""
        new = list(points)
        self._put(lambda: write_points(self._client, self._id, new))

    def write_network(self, params: Mapping[str, Any], summary: str) -> None:
        """Writes params of the optimizer, and the summary of the model as `model_summary.txt`."""
        self._put(lambda: write_params(self._client, self._id, dict(params)))
        self._put(lambda: self._client.log_text(self._id, summary, "model_summary.txt"))

    def register_best(self, best: BestModel) -> None:
        """Registers the best checkpoint as a LoggedModel."""
        self._put(lambda: register_best(self._client, self._id, self._description, best))

    def close(self, status: Status) -> None:
        """Waits until everything is written, uploads the run folder if there is a server, and closes the run."""
        self._stop_sampler()
        try:
            self._put(lambda: self._close(status))
            self._queue.close()
        except Exception:
            abandon_run(self._claimed, status)
            raise
        finally:
            restore_logs()

    def _close(self, status: Status) -> None:
        client, run = self._client, self._description.run
        tag_own_status(client, self._id, status)
        write_peak_memory(client, client.get_run(self._id), run.record())
        if self._tracking.tracking_uri:
            client.log_artifacts(self._id, str(run.path))
            # The record on disk gets its status only when all trackers are done.
            client.log_dict(self._id, run.record() | {"status": status, "ended": now()}, RECORD_FILE)
        client.set_terminated(self._id, MLFLOW_STATUS[status])
        if not self._tracking.tracking_uri:
            close_dead_runs(self._tracking.store)

    def _put_sample(self, values: Mapping[str, float], moment: int, number: int) -> None:
        metrics = [Metric(name, value, moment, number) for name, value in values.items()]
        self._queue.put(lambda: self._client.log_batch(self._id, metrics=metrics))

    def _put(self, write: Callable[[], object]) -> None:
        try:
            self._queue.raise_failed()
        except Exception:
            # A tracker that has raised is never called again.
            self._stop_sampler()
            abandon_run(self._claimed, Status.FAILED)
            raise
        self._queue.put(lambda: self._write(write))

    def _write(self, write: Callable[[], object]) -> None:
        if self._database_identity() != self._database:
            # The open connection would silently write to the deleted file.
            raise StoreError("the MLflow database was deleted or replaced during the run")
        write()

    def _database_identity(self) -> tuple[int, int] | None:
        path = database_path(self._tracking.store)
        if self._tracking.tracking_uri or not path.exists():
            return None
        found = path.stat()
        return found.st_dev, found.st_ino

    def _stop_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None
