"""Adds what the trackers of ended runs lack, from the run folders."""

import dataclasses
import pathlib

from dlexp.checkpoints.metadata import read_metadata
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import StoreError
from dlexp.machine.json_files import read_json_if_there
from dlexp.plugins import load_plugins
from dlexp.runs.points import read_points
from dlexp.runs.run import DESCRIPTION_FILE, FACTS_FILE, POINTS_FILE, Run, Status
from dlexp.runs.store import iterate_runs
from dlexp.tracking.base import (
    BestModel,
    RunContents,
    RunDescription,
    build_trackers,
    is_copied_by_driver,
    tracker_builders,
)


def find_unsynced(store: str | pathlib.Path, *, every: bool) -> list[Run]:
    """Finds the runs of a store that have ended, oldest first.

    Args:
        store: folder of the store.
        every: return all of them, as needed after the loss of a database; otherwise only those whose record lists a
            tracker that failed.
    """
    runs = [run for run in iterate_runs(store) if run.status() != Status.RUNNING]
    chosen = [run for run in runs if every or run.record().get("unsynced")]
    return sorted(chosen, key=lambda run: str(run.record()["started"]))


def sync_run(run: Run, *, tracking_uri: str = "") -> dict[str, str]:
    """Adds what the trackers of a run lack. A second call changes nothing.

    Pictures go only to trackers that failed: the others have them.

    Args:
        run: a run that has ended, with any status.
        tracking_uri: MLflow server to use instead of that of the run.

    Returns:
        What was added, by the name of the tracker; an empty text if nothing was missing.

    Raises:
        StoreError: the run is being trained; or a tracker failed again, which is raised after all others are done.
    """
    status = run.status()
    with run.hold():
        config = _current_config(run, tracking_uri)
        load_plugins(config.plugins if config.tracking.trackers else ())
        contents, unsynced = _read_contents(run, config, status), set(run.record().get("unsynced", []))
        filled: dict[str, str] = {}
        failures: dict[str, str] = {}
        for tracker in build_trackers(config.tracking):
            given = contents if tracker.name in unsynced else dataclasses.replace(contents, pictures={})
            try:
                filled[tracker.name] = tracker.sync(given)
            except Exception as err:  # noqa: BLE001
                # A tracking library may raise anything. The other trackers are synced first.
                failures[tracker.name] = str(err) if isinstance(err, StoreError) else f"{type(err).__name__}: {err}"
        run.update(status=status, unsynced=sorted(failures))
    if failures:
        raise StoreError("; ".join(f"{name} of run {run.id[:8]}: {reason}" for name, reason in failures.items()))
    return filled


def copy_trial(run: Run, *, registers_best: bool) -> None:
    """Copies a trial that has ended to the trackers that its own process did not call; like `sync_run` for those.

    Args:
        run: a run that has ended, with any status, and whose lock is free.
        registers_best: also copy its best checkpoint.

    Raises:
        StoreError: a tracker cannot be used.
    """
    status = run.status()
    config = _current_config(run, "")
    load_plugins(config.plugins if config.tracking.trackers else ())
    contents = _read_contents(run, config, status)
    if not registers_best:
        contents = dataclasses.replace(contents, best=None)
    for build in filter(is_copied_by_driver, tracker_builders(config.tracking)):
        tracker = build(config.tracking)
        tracker.sync(contents)
        run.update(unsynced=[name for name in run.record().get("unsynced", []) if name != tracker.name])


def _current_config(run: Run, tracking_uri: str) -> ExperimentConfig:
    """The config of a run with the current path of the store, which may have been moved."""
    config = run.config()
    uri = tracking_uri or config.tracking.tracking_uri
    return config.replace(store=str(run.path.parents[2]), tracking_uri=uri)


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
    """Whether the best checkpoint exists: `dlexp sweep --keep_checkpoints` removes those of all but the best trials."""
    return (run.path / run.record()["best_checkpoint"]).is_file()


def read_best_model(run: Run) -> BestModel:
    """Describes the best checkpoint of a finished run.

    Raises:
        CheckpointError: the file is missing or damaged.
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
        caution=record.get("caution", ""),
    )
