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
from dlexp.tracking.base import CompositeTracker, RunDescription, Tracker, is_copied_by_driver, tracker_builders

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
    """

    run: Run
    name: str
    tracker: Tracker
    log: PointLog
    resumed: bool


@contextlib.contextmanager
def open_run(
    config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any], trial: SweepTrial | None = None
) -> Iterator[RunSession]:
    """Makes the run folder and starts the trackers; when the block ends, records how it ended.

    A trial of a sweep leaves some trackers to the driver of the sweep, which copies the runs of all its trials.
    """
    built = _build_trackers(config, trial)
    name = config.tracking.run_name or (trial.name if trial else default_run_name(config, dataset))
    run_id, usable = (trial.run_id, built) if trial else _claim_run(built, name)
    identity = {"dataset_name": dataset.name, "dataset_id": dataset.id} | (trial.record() if trial else {})
    run = create_run(config.tracking.store, run_id, name=name, config=config, **identity, **facts)
    tracker = _compose(run, usable, lacking=_names_left_out(config, trial) + [t.name for t in built if t not in usable])
    session = RunSession(run, name, tracker, run.point_log(), resumed=False)
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
    built = _build_trackers(config, trial)
    run.update(status=Status.RUNNING, ended=None, error=None, unsynced=[], resumed=[*record.get("resumed", []), now()])
    tracker = _compose(run, built, lacking=_names_left_out(config, trial))
    session = RunSession(run, record["name"], tracker, run.point_log(), resumed=True)
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


def _build_trackers(config: ExperimentConfig, trial: SweepTrial | None) -> list[Tracker]:
    """The trackers that this process calls.

    Raises:
        DlexpError: one cannot be built, as a library that it needs is not installed.
    """
    builders = tracker_builders(config.tracking)
    return [build(config.tracking) for build in builders if not (trial and is_copied_by_driver(build))]


def _names_left_out(config: ExperimentConfig, trial: SweepTrial | None) -> list[str]:
    """Names of the trackers that the driver of a sweep calls in place of this process."""
    builders: list[Any] = list(tracker_builders(config.tracking)) if trial else []
    return [builder.name for builder in builders if is_copied_by_driver(builder)]


def _claim_run(trackers: Sequence[Tracker], name: str) -> tuple[str, list[Tracker]]:
    """The ID of a new run, from the first tracker that gives one; and the trackers but for those that failed."""
    usable = list(trackers)
    for tracker in trackers:
        try:
            if run_id := tracker.claim_run(name):
                return run_id, usable
        except Exception as err:  # noqa: BLE001
            # The folder is the truth: a training is not given up because a database is damaged.
            usable.remove(tracker)
            reason = str(err) if isinstance(err, StoreError) else f"{type(err).__name__}: {err}"
            _log.warning("%s; the run goes on without %s", reason, tracker.name)
    return uuid.uuid4().hex, usable


def _compose(run: Run, trackers: Sequence[Tracker], *, lacking: Sequence[str]) -> CompositeTracker:
    """All trackers as one; which of them fail is noted in the record, also if the process is killed afterwards."""

    def note_failure(name: str) -> None:
        run.update(unsynced=[*run.record().get("unsynced", []), name])

    for name in lacking:
        note_failure(name)
    return CompositeTracker(trackers, note_failure)


def _describe(
    session: RunSession, config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any]
) -> RunDescription:
    profile = describe_dataset(dataset)
    return RunDescription(session.run, session.name, config, dataset.name, dataset.id, profile, facts)
