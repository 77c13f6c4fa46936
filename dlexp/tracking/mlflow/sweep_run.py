"""The MLflow run of a sweep. MLflow shows the runs of its trials below it."""

import contextlib
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Self

import mlflow

from dlexp.config.sections import TrackingConfig
from dlexp.tracking.mlflow.connection import connect, find_or_create_experiment
from dlexp.tracking.mlflow.runs import param_text


class SweepRun:
    """The MLflow run of a sweep, which is never the active run of a process.

    Its methods write without a queue, as the driver of a sweep calls them from a separate thread. They raise the
    exceptions of MLflow.

    Args:
        client: client of the server or the store.
        run_id: ID of the MLflow run.

    Attributes:
        id: ID of the MLflow run.
    """

    def __init__(self, client: mlflow.MlflowClient, run_id: str) -> None:
        self._client, self.id = client, run_id

    @classmethod
    def open(cls, tracking: TrackingConfig, *, name: str, known: str | None) -> Self:
        """Opens the existing run of a sweep, or creates one.

        Args:
            tracking: store or server, experiment, tags.
            name: name of the sweep.
            known: ID of the run that a previous driver created; if MLflow does not have it, another is created.

        Raises:
            StoreError: the server does not answer.
        """
        client = connect(tracking)
        if known:
            with contextlib.suppress(mlflow.MlflowException):
                client.get_run(known)
                client.update_run(known, status="RUNNING")
                return cls(client, known)
        tags = {"dlexp.sweep": name} | {key: str(value) for key, value in tracking.tags.items()}
        made = client.create_run(find_or_create_experiment(client, tracking), tags=tags, run_name=name)
        return cls(client, str(made.info.run_id))

    def write_params(self, values: Mapping[str, Any]) -> None:
        """Writes params that describe the sweep."""
        for name, value in values.items():
            self._client.log_param(self.id, name, param_text(value))

    def write_results(
        self, *, files: Iterable[pathlib.Path], metrics: Mapping[str, float], tags: Mapping[str, Any]
    ) -> None:
        """Writes files as artifacts, then metrics, then tags."""
        for path in files:
            self._client.log_artifact(self.id, str(path))
        for name, value in metrics.items():
            self._client.log_metric(self.id, name, value)
        for name, value in tags.items():
            self._client.set_tag(self.id, name, value)

    def close(self, status: str) -> None:
        """Closes the run with the status of the sweep: `FINISHED`, `FAILED` or `KILLED`."""
        self._client.set_terminated(self.id, status)
