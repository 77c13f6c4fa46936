"""A run that is open: its folder, its lock and its trackers, from the first line to how it ended."""

import contextlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.spelling import config_to_flagfile, store_option
from dlexp.datasets import Dataset
from dlexp.datasets.inspection.description import describe_dataset
from dlexp.datasets.sources.combined import damage_of
from dlexp.errors import DataError, DivergedError, InterruptedRunError, PrunedError, StoreError
from dlexp.machine.atomic import atomic_file, write_text_atomically
from dlexp.runs.environment import write_environment
from dlexp.runs.points import PointLog
from dlexp.runs.recipe import make_recipe, recipe_text
from dlexp.runs.run import (
    CONFIG_FILE,
    DESCRIPTION_FILE,
    FACTS_FILE,
    FLAGS_FILE,
    LEFT_OUT_FILE,
    MANIFEST_FILE,
    RECIPE_FILE,
    Run,
    Status,
    SweepTrial,
    create_run,
    now,
)
from dlexp.tracking.base import CompositeTracker, RunDescription, Tracker, build_trackers
from dlexp.tracking.mlflow.tracker import MlflowTracker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSession:
    """A run while this process works on it.

    Attributes:
        run: the run and its folder.
        name: its name.
        tracker: all trackers as one.
        log: its points.
        resumed: another process began it.
        in_mlflow: MLflow could be opened.
    """

    run: Run
    name: str
    tracker: Tracker
    log: PointLog
    resumed: bool
    in_mlflow: bool


@contextlib.contextmanager
def open_run(
    config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any], trial: SweepTrial | None = None
) -> Iterator[RunSession]:
    """Makes the run folder and starts the trackers; when the block ends, records how it ended.

    A trial of a sweep leaves MLflow to the driver of the sweep, which copies the runs of all its trials.
    """
    others = build_trackers(config.tracking)
    name = config.tracking.run_name or (trial.name if trial else default_run_name(config, dataset))
    mlflow_tracker = MlflowTracker(config.tracking)
    mlflow_id = None if trial else _open_mlflow(mlflow_tracker, name)
    run_id = trial.run_id if trial else mlflow_id or uuid.uuid4().hex
    identity = {"dataset_name": dataset.name, "dataset_id": dataset.id} | (trial.record() if trial else {})
    run = create_run(config.tracking.store, run_id, name=name, config=config, **identity, **facts)
    tracker = _compose(run, [mlflow_tracker, *others] if mlflow_id else others)
    session = RunSession(run, name, tracker, run.point_log(), resumed=False, in_mlflow=mlflow_id is not None)
    with run.hold(), _recording_the_end(session):
        description = _describe(session, config, dataset, facts)
        write_run_files(description, dataset)
        tracker.start(description)
        yield session


@contextlib.contextmanager
def reopen_run(
    run: Run, config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any], trial: SweepTrial | None = None
) -> Iterator[RunSession]:
    """Goes on with a run of another process, whose lock is held; when the block ends, records how it ended.

    Raises:
        DataError: the data is not what the run has seen.
    """
    record = run.record()
    if record["dataset_id"] != dataset.id:
        raise DataError(
            f"run {run.id[:8]} cannot be resumed: its dataset has the ID {record['dataset_id']}, what is there now "
            f"has {dataset.id}: bring the data back, or start a new run with --init_checkpoint={run.id[:8]}:best"
        )
    others = build_trackers(config.tracking)
    name, mlflow_tracker = record["name"], MlflowTracker(config.tracking)
    run.update(status=Status.RUNNING, ended=None, error=None, unsynced=[], resumed=[*record.get("resumed", []), now()])
    opened = None if trial else _open_mlflow(mlflow_tracker, name, run)
    tracker = _compose(run, [mlflow_tracker, *others] if opened else others)
    session = RunSession(run, name, tracker, run.point_log(), resumed=True, in_mlflow=opened is not None)
    with _recording_the_end(session):
        write_text_atomically(run.path / CONFIG_FILE, config.to_json())
        tracker.resume(_describe(session, config, dataset, facts), session.log.points)
        yield session


def default_run_name(config: ExperimentConfig, dataset: Dataset) -> str:
    """A readable name: `resnet20-digits-adamw-lr0.001-seed0`."""
    optimization = config.optimization
    rate = f"lr{optimization.learning_rate:g}"
    return f"{config.model.model}-{dataset.name}-{optimization.optimizer}-{rate}-seed{config.seed}"


def write_run_files(description: RunDescription, dataset: Dataset) -> None:
    """Writes what is known of a run before its first step: flags, environment, facts, and the dataset."""
    run, config = description.run, description.config
    write_text_atomically(run.path / FLAGS_FILE, config_to_flagfile(config))
    write_text_atomically(run.path / FACTS_FILE, json.dumps(description.facts, indent=2) + "\n")
    write_environment(run.path)
    with atomic_file(run.path / MANIFEST_FILE) as temporary:
        dataset.manifest.to_parquet(temporary, index=False)
    recipe = make_recipe(config.data, dataset_name=dataset.name, dataset_id=dataset.id)
    write_text_atomically(run.path / RECIPE_FILE, recipe_text(recipe))
    write_text_atomically(run.path / DESCRIPTION_FILE, json.dumps(description.dataset_profile, indent=2) + "\n")
    if len(damaged := damage_of(dataset.source)):
        write_text_atomically(run.path / LEFT_OUT_FILE, damaged.to_csv(index=False))


@contextlib.contextmanager
def _recording_the_end(session: RunSession) -> Iterator[None]:
    run, status = session.run, Status.FAILED
    try:
        yield
        status = Status.FINISHED
    except InterruptedRunError as err:
        status = Status.KILLED
        raise InterruptedRunError(f"{err}; go on with: {_resume_command(run)}") from err
    except KeyboardInterrupt:
        status = Status.KILLED
        raise
    except PrunedError as err:
        status = Status.PRUNED
        run.update(error=str(err))
        raise
    except DivergedError as err:
        status = Status.DIVERGED
        run.update(error=str(err), diverged_step=err.step)
        raise
    except BaseException as err:
        run.update(error=f"{type(err).__name__}: {err}")
        raise
    finally:
        # The record comes last: a run that is killed between the two is not taken for finished, and a resume ends it.
        session.tracker.finish(status)
        run.update(status=status, ended=now())
        record = run.record()
        # Trackers that are still to get a trial are the business of its sweep.
        if (unsynced := record.get("unsynced")) and "sweep" not in record:
            _log.warning("%s lacks a part of this run: fill it in with %s", " and ".join(unsynced), _sync_command(run))


def _resume_command(run: Run) -> str:
    return f"dlexp train --resume={run.id[:8]}{store_option(run.config().tracking.store)}"


def _sync_command(run: Run) -> str:
    return f"dlexp sync {run.id[:8]}{store_option(run.config().tracking.store)}"


def _open_mlflow(tracker: MlflowTracker, name: str, run: Run | None = None) -> str | None:
    """The ID of the MLflow run; None if MLflow cannot be used, which is told."""
    try:
        return tracker.open(name, run)
    except StoreError as err:
        # The folder is the truth: a training is not given up because a database is damaged.
        _log.warning("%s; the run goes on without MLflow", err)
        return None


def _compose(run: Run, trackers: Sequence[Tracker]) -> CompositeTracker:
    """All trackers as one; which of them fail is noted in the record, also if the process is killed afterwards."""

    def note_failure(name: str) -> None:
        run.update(unsynced=[*run.record().get("unsynced", []), name])

    if not any(isinstance(tracker, MlflowTracker) for tracker in trackers):
        note_failure(MlflowTracker.name)
    return CompositeTracker(trackers, note_failure)


def _describe(
    session: RunSession, config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any]
) -> RunDescription:
    profile = describe_dataset(dataset)
    return RunDescription(session.run, session.name, config, dataset.name, dataset.id, profile, facts)
