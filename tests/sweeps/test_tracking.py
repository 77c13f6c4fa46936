"""A sweep in MLflow: its own run, the runs of its trials below it, and what becomes of it where MLflow fails."""

import json
import pathlib
from collections.abc import Sequence

import mlflow
import pytest

from dlexp.commands.cli import main
from dlexp.config.flags import config_from_words
from dlexp.config.spelling import config_to_flagfile
from dlexp.runs.run import DESCRIPTION_FILE, Run, Status, create_run
from dlexp.sweeps.folder import Trial, TrialState, write_table
from dlexp.sweeps.launchers.base import Event, Outcome, TrialJob
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.tracking import SweepTracking
from dlexp.tracking.mlflow.database import database_path
from dlexp.tracking.sync import copy_trial
from tests.support.mlflow_store import client_of
from tests.support.scripted_launcher import end, write_run
from tests.support.small_sweeps import begin, drive, plan_of
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


def test_the_run_of_a_sweep_shows_what_it_was_and_what_was_best(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, RATES, seeds=2)
    folder, _ = sweep(plan)
    parent = runs_of(tmp_path)[folder.record()["parent_run_id"]]
    assert (parent.info.run_name, parent.info.status) == ("s", "FINISHED")
    expected = {
        "search": "grid",
        "seeds": "2",
        "objectives": "val_accuracy:max",
        "pruner": "none",
        "model": "small_cnn",
    }
    assert expected.items() <= parent.data.params.items()
    assert json.loads(parent.data.params["space"]) == {"learning_rate": {"choice": [0.001, 0.01, 0.1]}}
    assert parent.data.metrics == {
        "best_val_accuracy": pytest.approx(0.9995),
        **{f"trials_{state.lower()}": 6.0 if state is TrialState.FINISHED else 0.0 for state in TrialState},
    }
    tags = {
        "dlexp.sweep": "s",
        "dlexp.best_trial": "2",
        "dlexp.best_run_id": run_of(folder, 2).id,
        "dlexp.best_point": "learning_rate=0.01",
    }
    assert tags.items() <= parent.data.tags.items()


def test_the_table_and_the_pictures_are_artifacts(tmp_path: pathlib.Path) -> None:
    folder, _ = sweep(plan_of(tmp_path))
    client, parent = client_of(tmp_path), folder.record()["parent_run_id"]
    names = {artifact.path for artifact in client.list_artifacts(parent)}
    assert names == {"trials.csv", "history.png", "slices.png", "importance.png", "parallel.png"}


def test_trials_are_children_under_their_own_ids_with_their_points(tmp_path: pathlib.Path) -> None:
    folder, trials = sweep(plan_of(tmp_path, RATES))
    parent, runs = folder.record()["parent_run_id"], runs_of(tmp_path)
    assert children_of(tmp_path, parent) == {run_of(folder, trial.number).id for trial in trials}
    assert len(runs) == 4
    for trial in trials:
        run = runs[run_of(folder, trial.number).id]
        assert (run.data.tags["dlexp.sweep"], run.data.tags["dlexp.trial"]) == ("s", str(trial.number))
        assert run.info.status == "FINISHED"
        assert float(run.data.params["learning_rate"]) == trial.point["learning_rate"]
        history = client_of(tmp_path).get_metric_history(run.info.run_id, "val_accuracy")
        assert [metric.step for metric in history] == [10, 20]


def test_tags_of_the_flags_are_on_the_sweep_and_on_its_trials(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, RATES)
    sweep(SweepPlan(name="s", candidates=plan.candidates.with_base(plan.base.replace(tags={"team": "a"}))))
    assert [run.data.tags["team"] for run in runs_of(tmp_path).values()] == ["a"] * 4


@pytest.mark.parametrize(
    ("outcome", "status", "own"),
    [
        (Outcome.FAILED, "FAILED", None),
        (Outcome.DIVERGED, "FAILED", "DIVERGED"),
        (Outcome.PRUNED, "FINISHED", "PRUNED"),
    ],
)
def test_trials_that_do_not_finish_are_there_as_they_ended(
    tmp_path: pathlib.Path, outcome: Outcome, status: str, own: str | None
) -> None:
    folder, _ = sweep(plan_of(tmp_path, RATES), end(outcome, "it broke"))
    runs = [runs_of(tmp_path)[run_of(folder, number).id] for number in range(3)]
    assert [(run.info.status, run.data.tags.get("dlexp.status")) for run in runs] == [(status, own)] * 3


def test_a_trial_that_failed_before_it_had_a_run_is_passed_over(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = begin(plan_of(tmp_path, RATES))
    tracking = SweepTracking(folder, plan_of(tmp_path, RATES))
    tracking.changed(Trial(0, 0, {}, 0, TrialState.FAILED))
    write_table(folder, [])
    tracking.finish([], status="FAILED")
    assert [run.info.status for run in runs_of(tmp_path).values()] == ["FAILED"]
    assert caplog.text == ""


def test_a_trial_that_shares_the_run_of_another_is_copied_once(tmp_path: pathlib.Path) -> None:
    plan = plan_of(tmp_path, "seed=choice(0,1)", seeds=2)
    folder, trials = sweep(plan)
    assert [trial.reused_from for trial in trials] == [None, None, 1, None]
    assert len(children_of(tmp_path, folder.record()["parent_run_id"])) == 3
    assert len(runs_of(tmp_path)) == 4


# Going on.


def test_a_resumed_sweep_goes_on_under_the_same_run(tmp_path: pathlib.Path) -> None:
    folder, _ = sweep(plan_of(tmp_path, num_points=2))
    parent = folder.record()["parent_run_id"]
    sweep(plan_of(tmp_path))
    assert folder.record()["parent_run_id"] == parent
    assert len(children_of(tmp_path, parent)) == 6
    assert len(runs_of(tmp_path)) == 7
    assert runs_of(tmp_path)[parent].data.metrics["trials_finished"] == 6


def test_what_a_killed_driver_has_not_copied_the_next_one_copies(tmp_path: pathlib.Path) -> None:
    folder, _, _ = drive(plan_of(tmp_path, num_points=4), train)
    sweep(plan_of(tmp_path))
    assert len(children_of(tmp_path, folder.record()["parent_run_id"])) == 6


def test_a_sweep_whose_run_was_deleted_gets_another(tmp_path: pathlib.Path) -> None:
    folder, _ = sweep(plan_of(tmp_path, num_points=2))
    previous = folder.record()["parent_run_id"]
    client_of(tmp_path).delete_run(previous)
    sweep(plan_of(tmp_path, num_points=4))
    parent = folder.record()["parent_run_id"]
    assert parent != previous
    assert len(children_of(tmp_path, parent)) == 2


def test_a_run_that_is_repeated_by_hand_is_no_child_of_the_sweep(tmp_path: pathlib.Path) -> None:
    folder, _ = sweep(plan_of(tmp_path, RATES))
    flags = config_to_flagfile(run_of(folder, 0).config()).splitlines()[1:]
    again = create_run(tmp_path, "f" * 32, name="b", config=config_from_words(flags), dataset_id="d", dataset_name="d")
    again.update(status=Status.FAILED)
    copy_trial(again, registers_best=False)
    assert again.id not in children_of(tmp_path, folder.record()["parent_run_id"])
    assert "dlexp.sweep" not in runs_of(tmp_path)[again.id].data.tags


# The best models.


@pytest.mark.parametrize(("seeds", "best"), [(1, {1}), (2, {2, 3})])
def test_the_trials_of_the_best_point_have_models_and_no_others(
    tmp_path: pathlib.Path, seeds: int, best: set[int]
) -> None:
    folder, _ = sweep(plan_of(tmp_path, RATES, seeds=seeds), train_to_a_checkpoint)
    assert sources_of_models(tmp_path) == {run_of(folder, number).id for number in best}


# Whatever becomes of MLflow, the sweep continues, reports once what is missing, and it can be filled in.


def damage(run: Run) -> None:
    """Makes a run one that cannot be copied."""
    (run.path / DESCRIPTION_FILE).parent.mkdir(exist_ok=True)
    (run.path / DESCRIPTION_FILE).write_text("{")


def repair(run: Run) -> None:
    (run.path / DESCRIPTION_FILE).unlink()


# Copies that cannot be made.


def test_a_trial_that_cannot_be_copied_is_reported_and_the_others_are_copied(
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
    (warning,) = caplog.messages
    assert run_of(folder, 1).id[:8] in warning
    assert "dlexp sync" in warning


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
def test_a_database_that_is_lost_is_reported_once_and_the_sweep_continues(
    tmp_path: pathlib.Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    def script(job: TrialJob) -> Sequence[Event]:
        if job.trial.trial == 2:
            lose(tmp_path, damage)
        return train(job)

    _, trials = sweep(plan_of(tmp_path), script, slots=1)
    assert {trial.state for trial in trials} == {TrialState.FINISHED}
    (warning,) = caplog.messages
    assert "MLflow does not have all of this sweep" in warning
    assert mlflow.active_run() is None


def test_a_sweep_that_is_resumed_after_its_database_was_lost_has_all_of_its_trials_there(
    tmp_path: pathlib.Path,
) -> None:
    folder, _ = sweep(plan_of(tmp_path, num_points=2))
    lose(tmp_path, "deleted")
    sweep(plan_of(tmp_path, num_points=4))
    assert len(children_of(tmp_path, folder.record()["parent_run_id"])) == 4
    assert len(runs_of(tmp_path)) == 5


def test_a_database_that_is_damaged_from_the_start_is_reported_once_and_sync_fills_another_one(
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


def test_a_model_that_cannot_be_made_is_reported_and_the_run_of_the_sweep_is_closed(
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
