"""The MLflow run of a run folder: found or created again, and completed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param
from mlflow.entities import Run as MlflowRun

from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status
from dlexp.tracking.base import RunDescription
from dlexp.tracking.mlflow.connection import find_or_create_experiment
from dlexp.tracking.mlflow.database import restore_run

RUN_ID_TAG = "dlexp.run_id"
MLFLOW_STATUS = {
    Status.FINISHED: "FINISHED",
    Status.FAILED: "FAILED",
    Status.KILLED: "KILLED",
    Status.DIVERGED: "FAILED",
    Status.PRUNED: "FINISHED",
}
_OWN_STATUSES = (Status.DIVERGED, Status.PRUNED)  # MLflow has no such status: a tag records it
_STATUS_TAG = "dlexp.status"
_PEAK_METRIC, _CHANGE_TAG = "peak_memory_bytes", "batch_size_change"  # so called in the record, too
_MAX_PARAM_CHARS = 6000
_MAX_BATCH, _MAX_METRICS = 100, 1000  # limits of one request to MLflow


@dataclass(frozen=True)
class Filled:
    """What was added to an MLflow run: the number of params and of points, and whether the dataset was."""

    params: int
    points: int
    dataset: bool


def find_or_make_run(client: MlflowClient, tracking: TrackingConfig, run: Run) -> tuple[str, bool]:
    """Returns the ID of the MLflow run of a run folder, and whether the run was created.

    In the database of the store it is created with the ID of the run folder, so that its artifacts are the run folder.
    A server chooses another ID. The record keeps it as `mlflow_run_id`, and the tag `dlexp.run_id` holds the original.

    Raises:
        StoreError: the run was deleted in MLflow.
    """
    record = run.record()
    for run_id in dict.fromkeys((record.get("mlflow_run_id") or run.id, run.id)):
        if is_there(client, run_id):
            return run_id, False
    experiment_id = find_or_create_experiment(client, tracking)
    tags = {key: str(value) for key, value in tracking.tags.items()} | _sweep_tags(record)
    started = milliseconds(record["started"])
    if not tracking.tracking_uri:
        restore_run(tracking.store, run, experiment_id=experiment_id, name=record["name"], started=started, tags=tags)
        return run.id, True
    found = client.search_runs([experiment_id], f"tags.`{RUN_ID_TAG}` = '{run.id}'", max_results=1)
    made = not found
    if made:
        tags |= {RUN_ID_TAG: run.id}
        found = [client.create_run(experiment_id, start_time=started, tags=tags, run_name=record["name"])]
    run_id = str(found[0].info.run_id)
    run.update(mlflow_run_id=run_id)
    return run_id, made


def _sweep_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Tags of a trial: MLflow shows it below the run of its sweep."""
    if "sweep" not in record:
        return {}
    tags = {"dlexp.sweep": record["sweep"], "dlexp.trial": str(record["trial"])}
    return tags | ({"mlflow.parentRunId": record["parent_run_id"]} if record["parent_run_id"] else {})


def is_there(client: MlflowClient, run_id: str) -> bool:
    """Returns whether the store or the server of a client has a run.

    Raises:
        StoreError: the run was deleted in MLflow.
    """
    try:
        info = client.get_run(run_id).info
    except MlflowException as err:
        if err.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if info.lifecycle_stage != "active":
        raise StoreError(f"run {run_id[:8]} was deleted in MLflow: restore it with mlflow runs restore")
    return True


def fill_in(client: MlflowClient, run_id: str, description: RunDescription, points: Sequence[Point]) -> Filled:
    """Adds the params, the dataset and the points that an MLflow run lacks; changes nothing else."""
    there = client.get_run(run_id)
    params = {name: value for name, value in description.params().items() if name not in there.data.params}
    write_params(client, run_id, params)
    digests = {linked.dataset.digest for linked in there.inputs.dataset_inputs}
    has_dataset = description.dataset_id in digests
    if not has_dataset:
        write_dataset(client, run_id, description)
    known = {
        (metric.key, metric.step)
        for key in {point.key for point in points} & there.data.metrics.keys()
        for metric in client.get_metric_history(run_id, key)
    }
    missing = [point for point in points if (point.key, point.step) not in known]
    write_points(client, run_id, missing)
    tag_batch_size_change(client, run_id, description.run.record())
    return Filled(len(params), len(missing), dataset=not has_dataset)


def close_as_recorded(
    client: MlflowClient, run_id: str, record: Mapping[str, Any], *, status: Status, ended: str
) -> None:
    """Closes an MLflow run with what is recorded of its end: peak memory, status, and when, an ISO 8601 time."""
    run = client.get_run(run_id)
    write_peak_memory(client, run, record)
    if run.data.tags.get(_STATUS_TAG) != status:
        tag_own_status(client, run_id, status)
    # If the status is right, MLflow already has an end, which is more exact by milliseconds.
    if run.info.status != MLFLOW_STATUS[status]:
        client.set_terminated(run_id, MLFLOW_STATUS[status], milliseconds(ended))


def write_peak_memory(client: MlflowClient, run: MlflowRun, record: Mapping[str, Any]) -> None:
    """Writes the recorded peak memory as a metric, if it is known and the MLflow run lacks it."""
    peak = record.get(_PEAK_METRIC)
    if peak is not None and run.data.metrics.get(_PEAK_METRIC) != peak:
        client.log_metric(run.info.run_id, _PEAK_METRIC, float(peak))


def tag_batch_size_change(client: MlflowClient, run_id: str, record: Mapping[str, Any]) -> None:
    """Writes as a tag that a run has another batch size than its experiment or sweep: "64 -> 128"."""
    if _CHANGE_TAG in record:
        client.set_tag(run_id, _CHANGE_TAG, record[_CHANGE_TAG])


def tag_own_status(client: MlflowClient, run_id: str, status: Status) -> None:
    """Writes a status that MLflow does not have, DIVERGED or PRUNED, as the tag `dlexp.status`."""
    if status in _OWN_STATUSES:
        client.set_tag(run_id, _STATUS_TAG, status)


def write_params(client: MlflowClient, run_id: str, values: dict[str, Any]) -> None:
    """Writes params; truncates texts that are too long for MLflow."""
    params = [Param(key, param_text(value)) for key, value in values.items()]
    for first in range(0, len(params), _MAX_BATCH):
        client.log_batch(run_id, params=params[first : first + _MAX_BATCH])


def write_points(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """Writes points as metrics, with the time of their measurement."""
    write_metrics(
        client, run_id, [Metric(point.key, point.value, milliseconds(point.time), point.step) for point in points]
    )


def write_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Writes metrics, in requests of at most the size that MLflow accepts."""
    for first in range(0, len(metrics), _MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _MAX_METRICS])


def write_dataset(client: MlflowClient, run_id: str, description: RunDescription) -> None:
    """Links a run to its dataset."""
    try:
        client.log_inputs(run_id, datasets=[_dataset_input(description)])
    except MlflowException:
        # Another process wrote the same dataset between MLflow's check and its write. Now MLflow finds it.
        client.log_inputs(run_id, datasets=[_dataset_input(description)])


def milliseconds(time: str) -> int:
    """Converts an ISO 8601 time to milliseconds since 1970, the format of MLflow."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def param_text(value: Any) -> str:
    """Converts the value of a param to text: unchanged or as JSON, at most 6,000 characters."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_MAX_PARAM_CHARS]


def _dataset_input(description: RunDescription) -> DatasetInput:
    profile = description.dataset_profile
    sources = sorted(profile.get("counts_by_source", ()))
    dataset = Dataset(
        name=description.dataset_name,
        digest=description.dataset_id,
        source_type="dlexp",
        source=json.dumps({"dataset": description.config.data.dataset, "sources": sources}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])
