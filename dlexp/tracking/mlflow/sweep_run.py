"""The MLflow run of a sweep, which MLflow shows the runs of its trials below."""

import contextlib
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Self

import mlflow

from dlexp.config.sections import TrackingConfig
from dlexp.tracking.mlflow.connection import connect, find_or_create_experiment
from dlexp.tracking.mlflow.runs import param_text


class SweepRun:
    """An MLflow run that is written without a queue and is never the active one: the driver of a sweep has a thread.

    Its methods raise what MLflow raises.

    Args:
        client: of the server or the store.
        run_id: of the run.
    """

    def __init__(self, client: mlflow.MlflowClient, run_id: str) -> None:
        self._client, self.id = client, run_id

    @classmethod
    def open(cls, tracking: TrackingConfig, *, name: str, known: str | None) -> Self:
        """Opens the run of a sweep again, or makes one.

        Args:
            tracking: store or server, experiment, tags.
            name: of the sweep.
            known: ID of the run that an earlier driver made; another is made if MLflow does not have it.

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
        """Writes what the sweep is."""
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
