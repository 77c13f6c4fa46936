"""The table of a sweep: one row a trial, with what it tried, what came of it, and its run."""

import pathlib

import pandas as pd
import pytest

from dlexp.sweeps.folder import (
    TABLE_FILE,
    SweepFolder,
    Trial,
    TrialState,
    create_sweep,
    tabulate_trials,
    trial_run_id,
    write_table,
)
from dlexp.sweeps.launchers.base import Outcome
from tests.support.scripted_launcher import end
from tests.support.small_sweeps import drive, ended, plan_of


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> SweepFolder:
    return create_sweep(tmp_path, "s", {})


def test_a_row_tells_all_of_a_trial(folder: SweepFolder) -> None:
    trial = ended(3, 0.9, point={"learning_rate": 0.1}, seed=7, epochs=5, seconds=1.5, started="then", ended="now")
    (row,) = tabulate_trials(folder, [trial]).to_dict("records")
    assert list(row.items()) == [
        ("trial", 3),
        ("state", "FINISHED"),
        ("learning_rate", 0.1),
        ("seed", 7),
        ("val_accuracy", 0.9),
        ("run_id", trial_run_id(folder.record()["sweep_id"], 3)),
        ("attempts", 1),
        ("epochs", 5),
        ("seconds", 1.5),
        ("started", "then"),
        ("ended", "now"),
        ("reused_from", None),
        ("reason", ""),
    ]


def test_rows_come_by_number(folder: SweepFolder) -> None:
    table = tabulate_trials(folder, [ended(2, 0.1), ended(0), Trial(1, 1, {}, 0)])
    assert list(table["trial"]) == [0, 1, 2]
    assert list(table["state"]) == ["FAILED", "WAITING", "FINISHED"]


def test_the_seed_is_that_of_the_trial_also_where_points_have_one(folder: SweepFolder) -> None:
    table = tabulate_trials(folder, [ended(number, 0.5, point={"seed": 3}, seed=3 + number) for number in (0, 1)])
    assert list(table["seed"]) == [3, 4]
    assert list(table.columns).count("seed") == 1


def test_parameters_that_do_not_apply_are_left_empty(folder: SweepFolder) -> None:
    points = [{"model": "mlp"}, {"model": "resnet20", "resnet20.dropout": 0.5}]
    table = tabulate_trials(folder, [ended(number, 0.5, point=point) for number, point in enumerate(points)])
    assert list(table["resnet20.dropout"].isna()) == [True, False]


def test_only_the_first_line_of_a_reason_is_told(folder: SweepFolder) -> None:
    table = tabulate_trials(folder, [ended(0, reason="it broke\nTraceback\n  of many lines")])
    assert list(table["reason"]) == ["it broke"]


def test_a_trial_that_is_reused_has_the_run_that_it_shares(folder: SweepFolder) -> None:
    table = tabulate_trials(folder, [ended(0, 0.5), ended(1, 0.5, reused_from=0)])
    assert table["run_id"].nunique() == 1
    assert table["reused_from"][1] == 0


def test_the_table_of_a_sweep_is_read_back_from_its_file(tmp_path: pathlib.Path) -> None:
    folder, trials, _ = drive(plan_of(tmp_path))
    write_table(folder, trials)
    table = pd.read_csv(folder.path / TABLE_FILE)
    assert list(table["learning_rate"]) == [trial.point["learning_rate"] for trial in trials]
    assert list(table["val_accuracy"]) == [trial.values["val_accuracy"] for trial in trials]
    assert set(table["state"]) == {TrialState.FINISHED}


def test_commas_and_quotes_of_a_reason_keep_the_columns(tmp_path: pathlib.Path) -> None:
    folder, trials, _ = drive(plan_of(tmp_path), end(Outcome.FAILED, 'no "a", nor b; ä'))
    write_table(folder, trials)
    assert set(pd.read_csv(folder.path / TABLE_FILE)["reason"]) == {'no "a", nor b; ä'}


def test_a_sweep_without_trials_has_a_table_too(folder: SweepFolder) -> None:
    write_table(folder, [])
    assert (folder.path / TABLE_FILE).read_text().strip().split(",")[:2] == ["trial", "state"]
