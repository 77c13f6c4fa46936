"""Sweeps that are driven with MLflow, for tests: trials that leave what MLflow gets, and a look at what it has."""

import json
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

from dlexp.runs.points import Point
from dlexp.runs.run import Run
from dlexp.sweeps.folder import SweepFolder, Trial, write_table
from dlexp.sweeps.launchers.base import Event, Outcome, TrialJob
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.tracking import SweepTracking
from dlexp.tracking.mlflow.database import database_path
from tests.support.mlflow_store import client_of, copy_database
from tests.support.scripted_launcher import Script, finish, score, write_run
from tests.support.small_sweeps import begin, drive

RATES = "learning_rate=choice(0.001,0.01,0.1)"
_TIME = "2026-11-26T01:00:00.000Z"


def train(job: TrialJob) -> Sequence[Event]:
    """A trial that measures something."""
    log = write_run(job, Outcome.FINISHED).point_log()
    log.append([Point("val_accuracy", 10 * epoch, epoch, score(job) * epoch / 2, _TIME) for epoch in (1, 2)])
    return finish(job)


def sweep(plan: SweepPlan, script: Script = train, **limits: Any) -> tuple[SweepFolder, list[Trial]]:
    """Drives a sweep as `dlexp sweep` does."""
    folder = begin(plan)
    if not database_path(folder.store).exists():
        copy_database(folder.store)
    tracking = SweepTracking(folder, plan)
    _, trials, _ = drive(plan, script, observers=[tracking], **limits)
    write_table(folder, trials)
    tracking.finish(trials, status="FINISHED")
    return folder, trials


def run_of(folder: SweepFolder, number: int) -> Run:
    return folder.run_of(Trial(number, 0, {}, 0))


def runs_of(store: pathlib.Path) -> dict[str, Any]:
    """All runs, by ID."""
    return {run.info.run_id: run for run in client_of(store).search_runs(["1"])}


def children_of(store: pathlib.Path, parent: str) -> set[str]:
    """IDs of the runs that MLflow shows below another."""
    return {run_id for run_id, run in runs_of(store).items() if run.data.tags.get("mlflow.parentRunId") == parent}


def write_checkpoint(run: Run) -> None:
    """Writes a checkpoint as far as MLflow looks into it."""
    metadata = {
        "epoch": 1, "step": 10, "input_shape": [8, 8, 1], "class_names": ["a", "b"], "weights_digest": run.id[:16]
    }  # fmt: skip
    with zipfile.ZipFile(run.checkpoints_folder / "a__best.keras", "w") as archive:
        archive.writestr("dlexp.json", json.dumps(metadata))


def train_to_a_checkpoint(job: TrialJob) -> Sequence[Event]:
    write_checkpoint(write_run(job, Outcome.FINISHED))
    return train(job)


def sources_of_models(store: pathlib.Path) -> set[str]:
    return {str(model.source_run_id) for model in client_of(store).search_logged_models(["1"])}
