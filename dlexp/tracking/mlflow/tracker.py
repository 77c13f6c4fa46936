"""The tracker that copies runs to MLflow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.registry import register_tracker
from dlexp.runs.points import Point
from dlexp.runs.run import Status
from dlexp.tracking.base import BestModel, RunContents, RunDescription, Tracker
from dlexp.tracking.mlflow.connection import connect, unusable
from dlexp.tracking.mlflow.logged_model import register_best
from dlexp.tracking.mlflow.open_run import ClaimedRun, OpenRun, abandon_run, claim_run
from dlexp.tracking.mlflow.runs import close_as_recorded, fill_in, find_or_make_run

if TYPE_CHECKING:
    import keras


@register_tracker("mlflow")
class MlflowTracker(Tracker):
    """Copies a run to MLflow, which chooses the ID of the run.

    In a store, the run folder is the artifact folder of the MLflow run. From `start` or `resume` to `finish` the run is
    an `OpenRun`. It is never the active run of MLflow in this process: that, and the tracking URI, are the caller's.

    Args:
        tracking: store or server, experiment, tags.
    """

    name = "MLflow"
    copied_by_driver = True

    def __init__(self, tracking: TrackingConfig) -> None:
        self._tracking = tracking
        self._claimed: ClaimedRun | None = None
        self._open: OpenRun | None = None
        self._is_resumed = False

    def claim_run(self, name: str) -> str:
        """Creates the MLflow run.

        Raises:
            StoreError: the database or the server cannot be used.
        """
        self._claimed = claim_run(self._tracking, name)
        return self._claimed.id

    def start(self, description: RunDescription) -> None:
        """Writes the params and the dataset.

        Raises:
            StoreError: the database or the server cannot be used.
        """
        self._activate(description).write_description()

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        """Adds what was still in the queue of a killed process.

        Raises:
            StoreError: the database or the server cannot be used.
        """
        self._is_resumed = True
        self._activate(description).fill_in(points)

    def keras_callbacks(self) -> Sequence["keras.callbacks.Callback"]:
        """Returns what writes optimizer and model, for a new run only, as params cannot be changed later."""
        if self._is_resumed or not self._tracking.mlflow_autolog:
            return ()
        from dlexp.tracking.mlflow.autolog import Autolog  # imports Keras, which the driver of a sweep does not need

        return (Autolog(self._require_open().write_network),)

    def log_points(self, points: Sequence[Point]) -> None:
        """Queues points; raises the permanent error of an earlier write, if there was one."""
        self._require_open().write_points(points)

    def log_best(self, best: BestModel) -> None:
        """Registers the best checkpoint as a LoggedModel."""
        self._require_open().register_best(best)

    def finish(self, status: Status) -> None:
        """Waits until everything is written, uploads the run folder if there is a server, and closes the run."""
        if self._open is not None:
            self._open.close(status)
        elif self._claimed is not None:
            abandon_run(self._claimed, status)
        self._claimed = self._open = None

    def sync(self, contents: RunContents) -> str:
        """Finds the MLflow run or creates it again, and adds what it lacks. Its status is not set to RUNNING."""
        tracking, description = self._tracking, contents.description
        try:
            client = connect(tracking)
            run_id, made = find_or_make_run(client, tracking, description.run)
            filled = fill_in(client, run_id, description, contents.points)
            registered = contents.best is not None and register_best(client, run_id, description, contents.best)
            if tracking.tracking_uri:
                client.log_artifacts(run_id, str(description.run.path))
            close_as_recorded(client, run_id, description.run.record(), status=contents.status, ended=contents.ended)
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

    def _activate(self, description: RunDescription) -> OpenRun:
        """Opens the run; claims it first if it is resumed, or if another tracker chose its ID."""
        claimed = self._claimed or claim_run(self._tracking, description.name, description.run)
        self._claimed = None
        self._open = OpenRun.of(claimed, description)
        return self._open

    def _require_open(self) -> OpenRun:
        if self._open is None:
            raise StoreError("the MLflow run is not open: call start() or resume() first")
        return self._open
