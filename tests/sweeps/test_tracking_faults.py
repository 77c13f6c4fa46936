"""Whatever becomes of MLflow, a sweep goes on, says once what is missing, and it can be filled in."""

import pathlib
from collections.abc import Sequence

import mlflow
import pytest

from dlexp.commands.cli import main
from dlexp.runs.run import DESCRIPTION_FILE, Run
from dlexp.sweeps.folder import TrialState
from dlexp.sweeps.launchers.base import Event, Outcome, TrialJob
from dlexp.tracking.mlflow.database import database_path
from tests.support.scripted_launcher import write_run
from tests.support.small_sweeps import plan_of
from tests.support.tracked_sweeps import (
    RATES,
    children_of,
    run_of,
    runs_of,
    sources_of_models,
    sweep,
    train,
    train_to_a_checkpoint,
)


def damage(run: Run) -> None:
    """Makes a run one that cannot be copied."""
    (run.path / DESCRIPTION_FILE).parent.mkdir(exist_ok=True)
    (run.path / DESCRIPTION_FILE).write_text("{")


def repair(run: Run) -> None:
    (run.path / DESCRIPTION_FILE).unlink()


# Copies that cannot be made.


def test_a_trial_that_cannot_be_copied_is_told_and_the_others_are_copied(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        events = train(job)
        if job.trial.trial == 1:
            damage(write_run(job, Outcome.FINISHED))
        return events

    folder, trials = sweep(plan_of(tmp_path), script)
    parent = folder.record()["parent_run_id"]
    assert children_of(tmp_path, parent) == {run_of(folder, trial.number).id for trial in trials if trial.number != 1}
    assert runs_of(tmp_path)[parent].info.status == "FINISHED"
    assert run_of(folder, 1).record()["unsynced"] == ["MLflow"]
    (told,) = caplog.messages
    assert run_of(folder, 1).id[:8] in told
    assert "dlexp sync" in told


def test_sync_makes_a_trial_that_was_not_copied_a_child_of_its_sweep(tmp_path: pathlib.Path) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        events = train(job)
        damage(write_run(job, Outcome.FINISHED))
        return events

    folder, _ = sweep(plan_of(tmp_path, RATES), script)
    assert len(runs_of(tmp_path)) == 1
    for number in range(3):
        repair(run_of(folder, number))
    assert main(["dlexp", "sync", f"--store={tmp_path}"]) == 0
    assert len(children_of(tmp_path, folder.record()["parent_run_id"])) == 3


# MLflow that is lost.


def lose(store: pathlib.Path, damage: str) -> None:
    if damage == "deleted":
        database_path(store).unlink()
    else:
        database_path(store).write_text("" if damage == "empty" else "garbage" * 100_000)


@pytest.mark.parametrize("damage", ["deleted", "empty", "garbage"])
def test_a_database_that_is_lost_is_told_once_and_the_sweep_goes_on(
    tmp_path: pathlib.Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        if job.trial.trial == 2:
            lose(tmp_path, damage)
        return train(job)

    _, trials = sweep(plan_of(tmp_path), script, slots=1)
    assert {trial.state for trial in trials} == {TrialState.FINISHED}
    (told,) = caplog.messages
    assert "MLflow does not have all of this sweep" in told
    assert mlflow.active_run() is None


def test_a_sweep_that_is_resumed_after_its_database_was_lost_has_all_of_its_trials_there(
    tmp_path: pathlib.Path,
) -> None:
    folder, _ = sweep(plan_of(tmp_path, num_points=2))
    lose(tmp_path, "deleted")
    sweep(plan_of(tmp_path, num_points=4))
    assert len(children_of(tmp_path, folder.record()["parent_run_id"])) == 4
    assert len(runs_of(tmp_path)) == 5


def test_a_database_that_is_damaged_from_the_start_is_told_once_and_sync_fills_another_one(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    lose(tmp_path, "garbage")
    folder, trials = sweep(plan_of(tmp_path, RATES))
    assert {trial.state for trial in trials} == {TrialState.FINISHED}
    assert len(caplog.messages) == 1
    database_path(tmp_path).unlink()
    assert main(["dlexp", "sync", f"--store={tmp_path}"]) == 0
    assert runs_of(tmp_path).keys() == {run_of(folder, number).id for number in range(3)}


def test_a_sweep_that_began_without_mlflow_gets_its_run_when_it_is_resumed(tmp_path: pathlib.Path) -> None:
    lose(tmp_path, "garbage")
    folder, _ = sweep(plan_of(tmp_path, num_points=2))
    database_path(tmp_path).unlink()
    sweep(plan_of(tmp_path, num_points=4))
    assert len(children_of(tmp_path, folder.record()["parent_run_id"])) == 4


def test_a_model_that_cannot_be_made_is_told_and_the_run_of_the_sweep_is_closed(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        events = train_to_a_checkpoint(job)
        if job.trial.trial == 2:  # of the best point, with trial 3
            (write_run(job, Outcome.FINISHED).checkpoints_folder / "a__best.keras").write_text("no archive")
        return events

    folder, _ = sweep(plan_of(tmp_path, RATES, seeds=2), script)
    assert sources_of_models(tmp_path) == {run_of(folder, 3).id}
    assert runs_of(tmp_path)[folder.record()["parent_run_id"]].info.status == "FINISHED"
    assert len(caplog.messages) == 1
