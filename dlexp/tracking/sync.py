"""Brings the trackers of runs that have ended up to date, from their run folders."""

import dataclasses
import pathlib

from dlexp.checkpoints.metadata import read_metadata
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import StoreError
from dlexp.machine.json_files import read_json_if_there
from dlexp.registry import load_plugins
from dlexp.runs.points import read_points
from dlexp.runs.run import DESCRIPTION_FILE, FACTS_FILE, POINTS_FILE, Run, Status
from dlexp.runs.store import iterate_runs
from dlexp.tracking.base import BestModel, RunContents, RunDescription, Tracker, build_trackers


def find_unsynced(store: str | pathlib.Path, *, every: bool) -> list[Run]:
    """The runs of a store that have ended, oldest first.

    Args:
        store: folder of the store.
        every: all of them, as after the loss of a database; or those alone whose record says that a tracker failed.
    """
    runs = [run for run in iterate_runs(store) if run.status() != Status.RUNNING]
    chosen = [run for run in runs if every or run.record().get("unsynced")]
    return sorted(chosen, key=lambda run: str(run.record()["started"]))


def sync_run(run: Run, *, tracking_uri: str = "") -> dict[str, str]:
    """Fills in what the trackers of a run lack; a second time nothing changes.

    Pictures go to trackers alone that have failed, as the others have them.

    Args:
        run: that has ended in any way.
        tracking_uri: MLflow server to use in place of the one that the run had.

    Returns:
        What was filled in, by the name of the tracker; empty text for nothing.

    Raises:
        StoreError: the run is being trained; or a tracker failed again, which is told after the others are done.
    """
    status = run.status()
    with run.hold():
        config = _current_config(run, tracking_uri)
        load_plugins(config.plugins if config.tracking.trackers else ())
        contents, unsynced = _read_contents(run, config, status), set(run.record().get("unsynced", []))
        filled: dict[str, str] = {}
        failures: dict[str, str] = {}
        for tracker in _build_trackers(config):
            given = contents if tracker.name in unsynced else dataclasses.replace(contents, pictures={})
            try:
                filled[tracker.name] = tracker.sync(given)
            except Exception as err:  # noqa: BLE001
                # Whatever a tracking library raises: the other trackers get what is theirs first.
                failures[tracker.name] = str(err) if isinstance(err, StoreError) else f"{type(err).__name__}: {err}"
        run.update(status=status, unsynced=sorted(failures))
    if failures:
        raise StoreError("; ".join(f"{name} of run {run.id[:8]}: {reason}" for name, reason in failures.items()))
    return filled


def copy_to_mlflow(run: Run, *, registers_best: bool) -> None:
    """Brings MLflow alone up to date with a run that has ended, as `sync_run` does.

    Args:
        run: that has ended in any way, and that nobody holds.
        registers_best: also make its best checkpoint a LoggedModel.

    Raises:
        StoreError: MLflow cannot be used.
    """
    from dlexp.tracking.mlflow.tracker import MlflowTracker

    status = run.status()
    config = _current_config(run, "")
    contents = _read_contents(run, config, status)
    if not registers_best:
        contents = dataclasses.replace(contents, best=None)
    MlflowTracker(config.tracking).sync(contents)
    unsynced = [name for name in run.record().get("unsynced", []) if name != MlflowTracker.name]
    run.update(unsynced=unsynced)


def _current_config(run: Run, tracking_uri: str) -> ExperimentConfig:
    """The config of a run, with the store where it is now: it may have been moved."""
    config = run.config()
    uri = tracking_uri or config.tracking.tracking_uri
    return config.replace(store=str(run.path.parents[2]), tracking_uri=uri)


def _build_trackers(config: ExperimentConfig) -> list[Tracker]:
    from dlexp.tracking.mlflow.tracker import MlflowTracker

    return [MlflowTracker(config.tracking), *build_trackers(config.tracking)]


def _read_contents(run: Run, config: ExperimentConfig, status: Status) -> RunContents:
    record, points = run.record(), read_points(run.path / POINTS_FILE)
    description = RunDescription(
        run,
        record["name"],
        config,
        record["dataset_name"],
        record["dataset_id"],
        read_json_if_there(run.path / DESCRIPTION_FILE),
        read_json_if_there(run.path / FACTS_FILE),
    )
    last = points[-1].time if points else record["started"]
    return RunContents(
        description,
        points,
        pictures={
            path.relative_to(run.path).with_suffix("").as_posix(): path for path in sorted(run.path.rglob("*.png"))
        },
        step=points[-1].step if points else 0,
        best=read_best_model(run) if status == Status.FINISHED and _keeps_best(run) else None,
        status=status,
        ended=record.get("ended") or last,
    )


def _keeps_best(run: Run) -> bool:
    """Whether its best checkpoint is there: a sweep keeps those of its best trials alone, if asked to."""
    return (run.path / run.record()["best_checkpoint"]).is_file()


def read_best_model(run: Run) -> BestModel:
    """The best checkpoint of a run that was trained and evaluated to the end.

    Raises:
        CheckpointError: its file is not there, or damaged.
    """
    record = run.record()
    path = run.path / record["best_checkpoint"]
    metadata = read_metadata(path)
    height, width, channels = metadata["input_shape"]
    return BestModel(
        checkpoint=path,
        epoch=metadata["epoch"],
        step=metadata["step"],
        metrics=record["metrics"],
        image_shape=(height, width, channels),
        class_names=metadata["class_names"],
        weights_digest=metadata["weights_digest"],
    )
