"""The folder of a sweep: its names, its trials, its lock, and its table with one row a trial."""

import pathlib
import re
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.errors import ConfigError, RunNotFoundError, StoreError
from dlexp.sweeps.folder import (
    TABLE_FILE,
    SweepFolder,
    Trial,
    TrialState,
    create_sweep,
    default_name,
    find_sweep,
    tabulate_trials,
    trial_run_id,
    write_table,
)
from dlexp.sweeps.launchers.base import Outcome
from tests.support.scripted_launcher import end
from tests.support.small_sweeps import drive, ended, plan_of
from tests.sweeps.conftest import PLAN


def test_a_new_sweep_has_its_plan_an_id_and_no_trials(folder: SweepFolder) -> None:
    record = folder.record()
    assert record["plan"] == PLAN
    assert re.fullmatch("[0-9a-f]{32}", record["sweep_id"])
    assert folder.trials() == []


def test_a_sweep_lies_in_its_store(folder: SweepFolder, tmp_path: pathlib.Path) -> None:
    assert folder.path == tmp_path / "sweeps" / "s"
    assert (folder.name, folder.store) == ("s", tmp_path)


@pytest.mark.parametrize("name", ["a", "2026", "Wide-net_v1.2", "x" * 100])
def test_a_name_that_a_folder_can_have_is_kept(tmp_path: pathlib.Path, name: str) -> None:
    assert create_sweep(tmp_path, name, PLAN).name == name


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-x", "_x", "a b", "a\n", "ä", "x" * 101, "latest"])
def test_a_name_that_cannot_be_used_is_refused_and_nothing_is_written(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        create_sweep(tmp_path, name, PLAN)
    assert f"--sweep_name={name} cannot name a" in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_name_is_made_from_the_time_if_none_is_given(tmp_path: pathlib.Path) -> None:
    assert re.fullmatch(r"sweep-\d{8}-\d{6}", create_sweep(tmp_path, "", PLAN).name)
    assert re.fullmatch(r"sweep-\d{8}-\d{6}", default_name())


def test_a_second_sweep_of_the_same_name_is_refused_and_the_first_stays(folder: SweepFolder) -> None:
    before = folder.record()
    with pytest.raises(ConfigError, match="sweep s already exists: continue it with --resume=s"):
        create_sweep(folder.store, "s", {"search": "tpe"})
    assert folder.record() == before


def test_a_folder_that_cannot_be_written_is_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sweeps").write_text("a file")
    with pytest.raises(StoreError, match="cannot be written: Not a directory: choose another --store"):
        create_sweep(tmp_path, "s", PLAN)


def test_latest_is_the_sweep_that_was_made_last(tmp_path: pathlib.Path) -> None:
    for name, created in (("b", "2026-01-02"), ("c", "2026-01-03"), ("a", "2026-01-01")):
        create_sweep(tmp_path, name, PLAN).update(created=created)
    assert find_sweep(tmp_path, "latest").name == "c"
    assert find_sweep(tmp_path, "a").record()["created"] == "2026-01-01"


@pytest.mark.parametrize(("names", "known"), [([], "none"), (["b", "a"], "a, b")])
@pytest.mark.parametrize("name", ["missing", "", ".."])
def test_a_sweep_that_there_is_not_is_refused_with_those_that_there_are(
    tmp_path: pathlib.Path, names: list[str], known: str, name: str
) -> None:
    for existing in names:
        create_sweep(tmp_path, existing, PLAN)
    with pytest.raises(RunNotFoundError, match=f"no sweep '{name}' in store '{tmp_path}': it has {known}$"):
        find_sweep(tmp_path, name)


def test_latest_of_a_store_without_sweeps_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunNotFoundError, match=r"no sweep 'latest' .*: it has none"):
        find_sweep(tmp_path, "latest")


def test_a_folder_without_a_sweep_in_it_is_none(folder: SweepFolder) -> None:
    (folder.path.parent / "notes").mkdir()
    assert find_sweep(folder.store, "latest") == folder


def test_update_changes_what_it_is_given_alone(folder: SweepFolder) -> None:
    before = folder.record()
    folder.update(parent_run_id="abc")
    assert folder.record() == before | {"parent_run_id": "abc"}


FINITE = st.floats(allow_nan=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
TRIALS = st.builds(
    Trial,
    st.integers(0, 10**6),
    point_number=st.integers(0),
    point=st.dictionaries(st.text(), JSON, max_size=3),
    seed=st.integers(0),
    state=st.sampled_from(TrialState),
    reason=st.text(),
    values=st.dictionaries(st.text(), FINITE, max_size=3),
    reused_from=st.none() | st.integers(0),
)


@given(TRIALS)
def test_a_trial_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, trial: Trial) -> None:
    folder = create_sweep(tmp_path_factory.mktemp("store"), "s", PLAN)
    folder.write_trial(trial)
    assert folder.trials() == [trial]


def test_trials_come_by_number_also_beyond_five_digits(folder: SweepFolder) -> None:
    for number in (100_000, 99_999, 7):
        folder.write_trial(ended(number))
    assert [trial.number for trial in folder.trials()] == [7, 99_999, 100_000]


def test_a_trial_that_is_written_again_has_one_file(folder: SweepFolder) -> None:
    for accuracy in (None, 0.5):
        folder.write_trial(ended(7, accuracy))
    assert [path.name for path in (folder.path / "trials").iterdir()] == ["00007.json"]
    assert folder.trials() == [ended(7, 0.5)]


def test_what_a_killed_driver_was_writing_is_passed_over(folder: SweepFolder) -> None:
    folder.write_trial(ended(0, 0.5))
    for name in (".tmp-0a1b2c3d-00001.json", "notes.json", "00002.json~"):
        (folder.path / "trials" / name).write_text('{"numb')
    assert folder.trials() == [ended(0, 0.5)]


@pytest.mark.parametrize("state", TrialState)
def test_trials_that_wait_or_run_have_not_ended(state: TrialState) -> None:
    assert state.has_ended == (state not in (TrialState.WAITING, TrialState.RUNNING))


def test_a_second_driver_is_refused_and_told_what_to_do(folder: SweepFolder) -> None:
    with folder.hold(), pytest.raises(StoreError, match=r"sweep s is being run .* dlexp sweep --status=s"):
        folder.hold().__enter__()


def test_a_sweep_is_driven_while_its_lock_is_held(folder: SweepFolder) -> None:
    assert not folder.is_driven()
    with folder.hold():
        assert folder.is_driven()
    assert not folder.is_driven()


def test_sweeps_of_a_store_are_driven_at_once(folder: SweepFolder) -> None:
    other = create_sweep(folder.store, "t", PLAN)
    with folder.hold(), other.hold():
        assert folder.is_driven()


def test_an_error_of_the_driver_is_not_taken_for_a_held_lock(folder: SweepFolder) -> None:
    with pytest.raises(BlockingIOError, match="of a pipe"), folder.hold():
        raise BlockingIOError("of a pipe")


@given(st.uuids().map(lambda item: item.hex), st.integers(0, 10**6))
def test_run_ids_are_stable_and_32_hex_digits(sweep_id: str, trial: int) -> None:
    run_id = trial_run_id(sweep_id, trial)
    assert re.fullmatch("[0-9a-f]{32}", run_id)
    assert run_id == trial_run_id(sweep_id, trial)


def test_run_ids_never_change_from_one_version_to_the_next() -> None:
    # Another one would have a resumed sweep train again what it has.
    assert trial_run_id("0" * 32, 7) == "811d1b276de91c6636aeb188ec93c076"


def test_run_ids_of_trials_and_sweeps_are_distinct() -> None:
    run_ids = {trial_run_id(sweep_id, trial) for sweep_id in ("0" * 32, "1" * 32) for trial in range(1000)}
    assert len(run_ids) == 2000


def test_a_trial_that_is_reused_has_the_run_of_the_other(folder: SweepFolder) -> None:
    first, reused = ended(3, 0.5), ended(9, 0.5, reused_from=3)
    assert folder.run_of(reused) == folder.run_of(first)
    assert folder.run_of(first).id == trial_run_id(folder.record()["sweep_id"], 3)


# The table.


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
