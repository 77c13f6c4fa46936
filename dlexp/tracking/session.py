"""An open run: its folder, its lock and its trackers, from its creation to its final status."""

import contextlib
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
from dlexp.machine.json_files import write_json
from dlexp.machine.timestamps import now
from dlexp.runs.batch_sizes import claim_batch_size, mark_batch_size
from dlexp.runs.best_values import best_values
from dlexp.runs.environment import write_environment
from dlexp.runs.points import PointLog, make_points
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
)
from dlexp.tracking.base import CompositeTracker, RunDescription, Tracker, is_copied_by_driver, tracker_builders

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSession:
    """A run that this process works on.

    Attributes:
        run: the run and its folder.
        name: name of the run.
        tracker: all trackers as one.
        log: the points of the run.
        resumed: another process started the run.
    """

    run: Run
    name: str
    tracker: Tracker
    log: PointLog
    resumed: bool

    def log_values(self, values: Mapping[str, float], *, step: int, epoch: int) -> None:
        """Adds values to the points of the run and to the trackers."""
        self.tracker.log_points(self.log.append(make_points(values, step=step, epoch=epoch)))


@contextlib.contextmanager
def open_run(
    config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any], trial: SweepTrial | None = None
) -> Iterator[RunSession]:
    """Creates the run folder and starts the trackers. When the block ends, records the status of the run.

    A trial of a sweep does not call trackers that the driver of the sweep copies trials to.

    Raises:
        ConfigError: the experiment or the sweep has another batch size, see `claim_batch_size`.
        DlexpError: a tracker cannot be built, for example because a library is not installed.
    """
    built = _build_trackers(config, trial)
    name = config.tracking.run_name or (trial.name if trial else default_run_name(config, dataset))
    run_id, usable = (trial.run_id, built) if trial else _claim_run(built, name)
    identity = {"dataset_name": dataset.name, "dataset_id": dataset.id} | (trial.record() if trial else {})
    run = create_run(config.tracking.store, run_id, name=name, config=config, **identity, **facts)
    tracker = _compose(run, usable, lacking=_names_left_out(config, trial) + [t.name for t in built if t not in usable])
    session = RunSession(run, name, tracker, run.point_log(), resumed=False)
    with run.hold(), _recording_the_end(session):
        claim_batch_size(run, config, sweep=trial.sweep if trial else "")
        description = _describe(session, config, dataset, facts)
        write_run_files(description, dataset)
        tracker.start(description)
        yield session


@contextlib.contextmanager
def reopen_run(
    run: Run, config: ExperimentConfig, dataset: Dataset, facts: Mapping[str, Any], trial: SweepTrial | None = None
) -> Iterator[RunSession]:
    """Resumes a run of another process; the caller holds its lock. When the block ends, records the status of the run.

    Raises:
        DataError: the dataset is not the one that the run was started with.
        DlexpError: a tracker cannot be built, for example because a library is not installed.
    """
    record = run.record()
    if record["dataset_id"] != dataset.id:
        raise DataError(
            f"run {run.id[:8]} cannot be resumed: it was started with dataset {record['dataset_id']}, and the data is "
            f"now dataset {dataset.id}: restore the data, or start a new run with --init_checkpoint={run.id[:8]}:best"
        )
    built = _build_trackers(config, trial)
    name = record["name"]
    if config.optimization.extended_from != run.config().optimization.extended_from:
        name = config.tracking.run_name or default_run_name(config, dataset)
    run.update(
        name=name,
        status=Status.RUNNING,
        ended=None,
        error=None,
        unsynced=[],
        resumed=[*record.get("resumed", []), now()],
    )
    tracker = _compose(run, built, lacking=_names_left_out(config, trial))
    session = RunSession(run, name, tracker, run.point_log(), resumed=True)
    with _recording_the_end(session):
        mark_batch_size(run, config, sweep=record.get("sweep", ""))
        write_text_atomically(run.path / FLAGS_FILE, config_to_flagfile(config))
        write_text_atomically(run.path / CONFIG_FILE, config.to_json())
        tracker.resume(_describe(session, config, dataset, facts), session.log.points)
        yield session


def default_run_name(config: ExperimentConfig, dataset: Dataset) -> str:
    """Returns a readable name: `resnet20-digits-adamw-lr0.001-seed0`."""
    optimization = config.optimization
    rate = f"lr{optimization.learning_rate:g}"
    extended = "".join(f"-from{epochs}" for epochs in optimization.extended_from)
    return f"{config.model.model}-{dataset.name}-{optimization.optimizer}-{rate}-seed{config.seed}{extended}"


def write_run_files(description: RunDescription, dataset: Dataset) -> None:
    """Writes what is known before the first step: flags, environment, facts, and the dataset."""
    run, config = description.run, description.config
    write_text_atomically(run.path / FLAGS_FILE, config_to_flagfile(config))
    write_json(run.path / FACTS_FILE, description.facts)
    write_environment(run.path)
    with atomic_file(run.path / MANIFEST_FILE) as temporary:
        dataset.manifest.to_parquet(temporary, index=False)
    recipe = make_recipe(
        config.data, dataset_name=dataset.name, dataset_id=dataset.id, split_method=dataset.split_method
    )
    write_text_atomically(run.path / RECIPE_FILE, recipe_text(recipe))
    write_json(run.path / DESCRIPTION_FILE, description.dataset_profile)
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
        raise InterruptedRunError(f"{err}; resume with: {_resume_command(run)}") from err
    except KeyboardInterrupt:
        status = Status.KILLED
        raise
    except PrunedError as err:
        status = Status.PRUNED
        run.update(error=str(err))
        _log_best_so_far(session)
        raise
    except DivergedError as err:
        status = Status.DIVERGED
        run.update(error=str(err), diverged_step=err.step)
        _log_best_so_far(session)
        raise
    except BaseException as err:
        run.update(error=f"{type(err).__name__}: {err}")
        raise
    finally:
        # The record comes last: a run that is killed before this line does not count as finished and can be resumed.
        session.tracker.finish(status)
        run.update(status=status, ended=now())
        record = run.record()
        # The driver of a sweep copies its trials to the trackers that are listed here.
        if (unsynced := record.get("unsynced")) and "sweep" not in record:
            _log.warning("%s lacks a part of this run: add it with %s", " and ".join(unsynced), _sync_command(run))


def _log_best_so_far(session: RunSession) -> None:
    """Adds the metrics of the best epoch to a run that ends early and is not resumed."""
    record = session.run.record()
    if values := best_values(record):
        session.log_values(values, step=session.log.points[-1].step, epoch=record["best_epoch"])


def _resume_command(run: Run) -> str:
    return f"dlexp train --resume={run.id[:8]}{store_option(run.config().tracking.store)}"


def _sync_command(run: Run) -> str:
    return f"dlexp sync {run.id[:8]}{store_option(run.config().tracking.store)}"


def _build_trackers(config: ExperimentConfig, trial: SweepTrial | None) -> list[Tracker]:
    """Builds the trackers that this process calls."""
    builders = tracker_builders(config.tracking)
    return [build(config.tracking) for build in builders if not (trial and is_copied_by_driver(build))]


def _names_left_out(config: ExperimentConfig, trial: SweepTrial | None) -> list[str]:
    """Names of the trackers that the driver of a sweep calls instead of this process."""
    builders: list[Any] = list(tracker_builders(config.tracking)) if trial else []
    return [builder.name for builder in builders if is_copied_by_driver(builder)]


def _claim_run(trackers: Sequence[Tracker], name: str) -> tuple[str, list[Tracker]]:
    """The ID of a new run, from the first tracker that returns one, and the trackers that did not fail."""
    usable = list(trackers)
    for tracker in trackers:
        try:
            if run_id := tracker.claim_run(name):
                return run_id, usable
        except Exception as err:  # noqa: BLE001
            # A damaged database must not stop a training: the run folder holds everything.
            usable.remove(tracker)
            reason = str(err) if isinstance(err, StoreError) else f"{type(err).__name__}: {err}"
            _log.warning("%s; the run continues without %s", reason, tracker.name)
    return uuid.uuid4().hex, usable


def _compose(run: Run, trackers: Sequence[Tracker], *, lacking: Sequence[str]) -> CompositeTracker:
    """All trackers as one. The record lists those that lack a part of the run as soon as that is known."""

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
