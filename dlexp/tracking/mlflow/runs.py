"""The MLflow run that belongs to a run folder: found, made again, and filled with what it lacks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

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
_OWN_STATUSES = (Status.DIVERGED, Status.PRUNED)  # MLflow has none like them: they are told in a tag
_STATUS_TAG = "dlexp.status"
_MAX_PARAM_CHARS = 6000
_MAX_BATCH, _MAX_METRICS = 100, 1000  # what MLflow takes in one request


@dataclass(frozen=True)
class Filled:
    """What an MLflow run lacked and has been given: how many params and points, and whether the dataset."""

    params: int
    points: int
    dataset: bool


def find_or_make_run(client: MlflowClient, tracking: TrackingConfig, run: Run) -> tuple[str, bool]:
    """The ID of the MLflow run of a run folder, and whether it had to be made.

    In the database of the store it is made again under its own ID, so that its artifacts are the run folder. A server
    gives an ID of its own: that is kept as `mlflow_run_id` in the record, and the run is tagged `dlexp.run_id`.

    Raises:
        StoreError: it was deleted in MLflow.
    """
    record = run.record()
    for run_id in dict.fromkeys((record.get("mlflow_run_id") or run.id, run.id)):
        if _is_there(client, run_id):
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
    """What ties a trial to the run of its sweep: MLflow shows it below that."""
    if "sweep" not in record:
        return {}
    tags = {"dlexp.sweep": record["sweep"], "dlexp.trial": str(record["trial"])}
    return tags | ({"mlflow.parentRunId": record["parent_run_id"]} if record["parent_run_id"] else {})


def _is_there(client: MlflowClient, run_id: str) -> bool:
    try:
        info = client.get_run(run_id).info
    except MlflowException as err:
        if err.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    if info.lifecycle_stage != "active":
        raise StoreError(f"run {run_id[:8]} was deleted in MLflow: bring it back there with mlflow runs restore")
    return True


def fill_in(client: MlflowClient, run_id: str, description: RunDescription, points: Sequence[Point]) -> Filled:
    """Gives an MLflow run the params, the dataset and the points that it lacks; what it has stays as it is."""
    there = client.get_run(run_id)
    params = {name: value for name, value in description.params().items() if name not in there.data.params}
    write_params(client, run_id, params)
    digests = {each.dataset.digest for each in there.inputs.dataset_inputs}
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
    return Filled(len(params), len(missing), dataset=not has_dataset)


def close_as_recorded(client: MlflowClient, run_id: str, *, status: Status, ended: str) -> None:
    """Gives the MLflow run of a run that has ended the status and the end, ISO 8601, of the record."""
    run = client.get_run(run_id)
    if run.data.tags.get(_STATUS_TAG) != status:
        tag_own_status(client, run_id, status)
    # A run that was closed when it ended has a time that is better than ours by milliseconds.
    if run.info.status != MLFLOW_STATUS[status]:
        client.set_terminated(run_id, MLFLOW_STATUS[status], milliseconds(ended))


def tag_own_status(client: MlflowClient, run_id: str, status: Status) -> None:
    """Tags a run whose status MLflow does not know: `dlexp.status` is DIVERGED or PRUNED."""
    if status in _OWN_STATUSES:
        client.set_tag(run_id, _STATUS_TAG, status)


def write_params(client: MlflowClient, run_id: str, values: dict[str, Any]) -> None:
    """Writes params; a text that is longer than MLflow takes is cut."""
    params = [Param(key, param_text(value)) for key, value in values.items()]
    for first in range(0, len(params), _MAX_BATCH):
        client.log_batch(run_id, params=params[first : first + _MAX_BATCH])


def write_points(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """Writes points as metrics, at the times when they were measured."""
    write_metrics(
        client, run_id, [Metric(point.key, point.value, milliseconds(point.time), point.step) for point in points]
    )


def write_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Writes metrics, no more at a time than MLflow takes well."""
    for first in range(0, len(metrics), _MAX_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _MAX_METRICS])


def write_dataset(client: MlflowClient, run_id: str, description: RunDescription) -> None:
    """Links a run to its dataset."""
    try:
        client.log_inputs(run_id, datasets=[_dataset_input(description)])
    except MlflowException:
        # Another process has made the same dataset between MLflow's look for it and its write: now it is found.
        client.log_inputs(run_id, datasets=[_dataset_input(description)])


def milliseconds(time: str) -> int:
    """An ISO 8601 time as MLflow has it: milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def param_text(value: Any) -> str:
    """A param as text: as it is, or as JSON; at most 6,000 characters of it."""
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
