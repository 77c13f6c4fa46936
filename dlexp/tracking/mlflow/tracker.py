"""Runs in MLflow: params, metrics, the dataset, the best model, and the run folder as artifacts."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence

import mlflow
from mlflow.entities import Metric

from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.runs.points import Point
from dlexp.runs.run import RECORD_FILE, Run, Status, now
from dlexp.tracking.base import BestModel, RunContents, RunDescription, Tracker
from dlexp.tracking.mlflow.connection import connect, find_or_create_experiment, store_uri, unusable, will_pass
from dlexp.tracking.mlflow.database import close_dead_runs, database_path
from dlexp.tracking.mlflow.logged_model import register_best
from dlexp.tracking.mlflow.runs import (
    fill_in,
    find_or_make_run,
    milliseconds,
    write_dataset,
    write_params,
    write_points,
)
from dlexp.tracking.mlflow.system_metrics import SystemSampler
from dlexp.tracking.write_queue import WriteQueue

# How long the start and the end of a run wait for a database that is locked, and its end for a server that is gone.
_DATABASE_GRACE_SECONDS, _SERVER_GRACE_SECONDS = 60.0, 10.0
_PAUSE_SECONDS = 0.1
_MLFLOW_STATUS = {
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.KILLED: "KILLED",
    Status.DIVERGED: "FAILED",
    Status.PRUNED: "FINISHED",
}
_OWN_STATUSES = (Status.DIVERGED, Status.PRUNED)  # MLflow has none like them: they are told in a tag


class MlflowTracker(Tracker):
    """Copies a run to MLflow.

    All but the opening is written by a thread of its own, in order, so that a busy database or a server that is gone
    does not hold up the training.

    Args:
        tracking: store or server, experiment, tags.
    """

    name = "MLflow"

    def __init__(self, tracking: TrackingConfig) -> None:
        self._tracking = tracking
        self._sampler: SystemSampler | None = None
        self._run: Run | None = None  # once it has started
        self.run_id: str | None = None

    def open(self, run_name: str, run: Run | None = None) -> str:
        """Makes the MLflow run, or opens one again, and returns its ID, 32 hex digits.

        Args:
            run_name: of a new run.
            run: to go on with; if MLflow does not have it, it is made again.

        Raises:
            StoreError: the database or the server cannot be used.
        """
        tracking = self._tracking
        try:
            self._client = connect(tracking)
            self.run_id = self._start_run(run_name, run)
            self._database = self._database_identity()
            self._queue = WriteQueue(
                will_pass, grace_s=_SERVER_GRACE_SECONDS if tracking.tracking_uri else _DATABASE_GRACE_SECONDS
            )
            if tracking.system_metrics:
                self._sampler = SystemSampler(self.run_id, store_uri(tracking), self._put_sample)
        except Exception as err:
            # sqlalchemy, alembic, requests and MLflow raise classes of their own, with no base in common.
            if self.run_id is not None:
                self.run_id = None
                _leave_active_run(Status.FAILED)
            raise unusable(tracking, err) from err
        return self.run_id

    def _start_run(self, run_name: str, run: Run | None) -> str:
        """Starts the MLflow run; waits where many processes that start at once lock the database."""
        tracking, give_up = self._tracking, time.monotonic() + _DATABASE_GRACE_SECONDS
        mlflow.set_tracking_uri(store_uri(tracking))
        while True:
            try:
                known = find_or_make_run(self._client, tracking, run)[0] if run else None
                opened = mlflow.start_run(
                    run_id=known,
                    experiment_id=None if known else find_or_create_experiment(self._client, tracking),
                    nested=mlflow.active_run() is not None,
                    run_name=None if known else run_name,
                    tags={key: str(value) for key, value in tracking.tags.items()},
                )
                return str(opened.info.run_id)
            except Exception as err:
                if tracking.tracking_uri or not will_pass(err) or time.monotonic() > give_up:
                    raise
                time.sleep(_PAUSE_SECONDS)

    def start(self, description: RunDescription) -> None:
        """Writes the params and the dataset."""
        self._description, self._run = description, description.run
        client, run_id = self._client, self._require_run()
        self._put(lambda: write_params(client, run_id, description.params()))
        self._put(lambda: write_dataset(client, run_id, description))

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Fills in what never came through, as it was still in the queue of a killed process."""
        self._description, self._run = description, description.run
        client, run_id, known = self._client, self._require_run(), list(points)
        self._put(lambda: fill_in(client, run_id, description, known))

    def log_points(self, points: Sequence[Point]) -> None:
        """Queues points; raises what an earlier write has failed with."""
        client, run_id, new = self._client, self._require_run(), list(points)
        self._put(lambda: write_points(client, run_id, new))

    def log_best(self, best: BestModel) -> None:
        """Registers the best checkpoint as a LoggedModel."""
        client, run_id, description = self._client, self._require_run(), self._description
        self._put(lambda: register_best(client, run_id, description, best))

    def finish(self, status: Status) -> None:
        """Waits until all is written, uploads the run folder to a server, and closes the run."""
        self._stop_sampler()
        try:
            self._put(lambda: self._close_run(status))
            self._queue.close()
        finally:
            _leave_active_run(status)

    def sync(self, contents: RunContents) -> str:
        """Finds the MLflow run, or makes it again, and fills in what it lacks; the run is never RUNNING meanwhile."""
        tracking, description = self._tracking, contents.description
        try:
            client = connect(tracking)
            run_id, made = find_or_make_run(client, tracking, description.run)
            filled = fill_in(client, run_id, description, contents.points)
            registered = contents.best is not None and register_best(client, run_id, description, contents.best)
            if tracking.tracking_uri:
                client.log_artifacts(run_id, str(description.run.path))
            self._close_as_recorded(client, run_id, contents)
        except Exception as err:
            raise unusable(tracking, err) from err
        parts = [
            *(["the run"] if made else []),
            *([f"{filled.params} params"] if filled.params else []),
            *(["the dataset"] if filled.dataset else []),
            *([f"{filled.points} points"] if filled.points else []),
            *(["the best model"] if registered else []),
        ]
        return ", ".join(parts)

    def _close_as_recorded(self, client: mlflow.MlflowClient, run_id: str, contents: RunContents) -> None:
        status, ended = _MLFLOW_STATUS[contents.status], milliseconds(contents.ended)
        run = client.get_run(run_id)
        if contents.status in _OWN_STATUSES and run.data.tags.get("dlexp.status") != contents.status:
            client.set_tag(run_id, "dlexp.status", contents.status)
        # A run that was closed when it ended has a time that is better than ours by milliseconds.
        if run.info.status != status:
            client.set_terminated(run_id, status, ended)

    def _close_run(self, status: Status) -> None:
        client, run_id = self._client, self._require_run()
        if status in _OWN_STATUSES:
            client.set_tag(run_id, "dlexp.status", status)
        if self._tracking.tracking_uri and self._run is not None:
            client.log_artifacts(run_id, str(self._run.path))
            # The record on the disk says so only when all trackers are done.
            client.log_dict(run_id, self._run.record() | {"status": status, "ended": now()}, RECORD_FILE)
        client.set_terminated(run_id, _MLFLOW_STATUS[status])
        if not self._tracking.tracking_uri:
            close_dead_runs(self._tracking.store)

    def _put_sample(self, values: Mapping[str, float], moment: int, number: int) -> None:
        client, run_id = self._client, self._require_run()
        metrics = [Metric(name, value, moment, number) for name, value in values.items()]
        self._queue.put(lambda: client.log_batch(run_id, metrics=metrics))

    def _put(self, write: Callable[[], object]) -> None:
        try:
            self._queue.raise_failed()
        except Exception:
            # Nobody calls a tracker again that has raised.
            self._stop_sampler()
            _leave_active_run(Status.FAILED)
            raise
        self._queue.put(lambda: self._write(write))

    def _write(self, write: Callable[[], object]) -> None:
        if self._database_identity() != self._database:
            # An open connection would go on writing into the deleted file, and nobody would notice.
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

    def _require_run(self) -> str:
        if self.run_id is None:
            raise StoreError("the MLflow run is not open: call open() first")
        return self.run_id


def _leave_active_run(status: Status) -> None:
    """Makes the run no longer the active one of the process, which a next run would be nested in.

    By now it is closed, its database cannot be written to, or nothing will be.
    """
    with contextlib.suppress(Exception):
        mlflow.end_run(_MLFLOW_STATUS[status])
