"""Runs in MLflow: params, metrics, the dataset, and the run folder as artifacts."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from dlexp.config import TrackingConfig
from dlexp.errors import StoreError
from dlexp.points import Point
from dlexp.runs import RECORD_FILE, Status, artifacts_root, now
from dlexp.tracking.base import RunDescription, Tracker
from dlexp.tracking.database import close_dead_runs, database_path, make_database

# Read when MLflow is imported. Telemetry would reach for the network from a training.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# Its own default keeps a training waiting for minutes when a server is gone.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

import keras
import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.keras import MlflowCallback

# The UI opens such an experiment on its runs, and not on traces of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_MAX_PARAM_CHARS = 6000
_MAX_BATCH = 100
_MLFLOW_STATUS = {
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.KILLED: "KILLED",
    Status.DIVERGED: "FAILED",
}


def store_uri(tracking: TrackingConfig) -> str:
    """The tracking URI: the server that was asked for, or the sqlite database of the store."""
    return tracking.tracking_uri or f"sqlite:///{database_path(tracking.store)}"


class MlflowTracker(Tracker):
    """Copies a run to MLflow.

    Points are written by a thread of their own, in order, so that a busy database does not hold up the training.

    Args:
        tracking: store or server, experiment, tags.
    """

    name = "MLflow"

    def __init__(self, tracking: TrackingConfig) -> None:
        self._tracking = tracking
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow-writer")
        self._written: list[Future[None]] = []
        self.run_id: str | None = None

    def open(self, run_name: str, run_id: str | None = None) -> str:
        """Makes the MLflow run, or opens one again, and returns its ID, 32 hex digits.

        Args:
            run_name: of a new run.
            run_id: of a run to go on with.

        Raises:
            StoreError: the database or the server cannot be used.
        """
        uri = store_uri(self._tracking)
        _quiet_libraries()
        try:
            if not self._tracking.tracking_uri:
                make_database(self._tracking.store)
            mlflow.set_tracking_uri(uri)
            run = mlflow.start_run(
                run_id=run_id,
                experiment_id=None if run_id else self._experiment_id(),
                nested=mlflow.active_run() is not None,
                run_name=None if run_id else run_name,
                tags={key: str(value) for key, value in self._tracking.tags.items()},
            )
        except Exception as err:
            # sqlalchemy, alembic, requests and MLflow raise classes of their own, with no base in common.
            raise StoreError(
                f"MLflow cannot use {uri!r} ({type(err).__name__}: {str(err).strip().splitlines()[0][:200]}): check "
                "--tracking_uri, or move the damaged database away"
            ) from err
        self.run_id = run.info.run_id
        return self.run_id

    def _experiment_id(self) -> str:
        client, name = mlflow.MlflowClient(), self._tracking.experiment
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        location = None if self._tracking.tracking_uri else artifacts_root(self._tracking.store).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location, tags=_EXPERIMENT_TAGS))
        except mlflow.MlflowException:
            # Another process made it in the meantime.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def start(self, description: RunDescription) -> None:
        """Writes the params and the dataset."""
        client, run_id = mlflow.MlflowClient(), self._require_run()
        params = [Param(key, _param_text(value)) for key, value in _params(description).items()]
        for first in range(0, len(params), _MAX_BATCH):
            client.log_batch(run_id, params=params[first : first + _MAX_BATCH])
        client.log_inputs(run_id, datasets=[_dataset_input(description)])
        self._run = description.run

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Fills in the points that never came through, as they were still in the queue of a killed process."""
        self._run = description.run
        client, run_id = mlflow.MlflowClient(), self._require_run()
        there = {
            (metric.key, metric.step)
            for key in {point.key for point in points}
            for metric in client.get_metric_history(run_id, key)
        }
        self.log_points([point for point in points if (point.key, point.step) not in there])

    def log_points(self, points: Sequence[Point]) -> None:
        """Queues points for the writer; raises what an earlier write raised."""
        self._raise_failed()
        metrics = [Metric(point.key, point.value, _milliseconds(point.time), point.step) for point in points]
        self._written.append(self._writer.submit(self._write, metrics))

    def finish(self, status: Status) -> None:
        """Waits for the writer, uploads the run folder to a server, and closes the run."""
        self._writer.shutdown(wait=True)
        try:
            self._raise_failed()
            if status == Status.DIVERGED:
                mlflow.set_tag("dlexp.status", status)  # MLflow has no such status
            if self._tracking.tracking_uri:
                mlflow.log_artifacts(str(self._run.path))
                # The record on the disk says so only when all trackers are done.
                mlflow.log_dict(self._run.record() | {"status": status, "ended": now()}, RECORD_FILE)
        finally:
            mlflow.end_run(_MLFLOW_STATUS[status])
        if not self._tracking.tracking_uri:
            close_dead_runs(self._tracking.store)

    def _write(self, metrics: list[Metric]) -> None:
        client = mlflow.MlflowClient()
        for first in range(0, len(metrics), _MAX_BATCH):
            client.log_batch(self._require_run(), metrics=metrics[first : first + _MAX_BATCH])

    def _raise_failed(self) -> None:
        done = [future for future in self._written if future.done()]
        self._written = [future for future in self._written if not future.done()]
        for future in done:
            future.result()

    def _require_run(self) -> str:
        if self.run_id is None:
            raise StoreError("the MLflow run is not open: call open() first")
        return self.run_id


class Autolog(MlflowCallback):
    """MLflow's Keras autolog callback for what it adds to a run: `optimizer_*` params and `model_summary.txt`.

    Its metrics are left to the tracker. The original writes them asynchronously, with failures only in a log; counts
    steps in epochs; and repeats `validation_*` at step 0 after every epoch, so that a curve is a column of points.
    """

    on_batch_end = keras.callbacks.Callback.on_batch_end
    on_epoch_end = keras.callbacks.Callback.on_epoch_end
    on_test_end = keras.callbacks.Callback.on_test_end


def _quiet_libraries() -> None:
    """Keeps notices of database migrations and of experiments made out of the user's terminal."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _params(description: RunDescription) -> dict[str, Any]:
    return description.config.flat() | {
        "dataset_id": description.dataset_id,
        "dataset_name": description.dataset_name,
        **description.facts,
    }


def _param_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_MAX_PARAM_CHARS]


def _dataset_input(description: RunDescription) -> DatasetInput:
    profile: Mapping[str, Any] = description.dataset_profile
    dataset = Dataset(
        name=description.dataset_name,
        digest=description.dataset_id,
        source_type="dlexp",
        source=json.dumps({"dataset": description.config.data.dataset, "sources": sorted(profile["counts_by_source"])}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)
