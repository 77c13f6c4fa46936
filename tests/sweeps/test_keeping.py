"""Which trials of a sweep keep their checkpoints."""

import pathlib
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.sweeps.folder import SweepFolder, Trial, TrialState, create_sweep
from dlexp.sweeps.keeping import CheckpointKeeper
from dlexp.sweeps.objective import Objective, parse_objectives
from tests.support.small_sweeps import ended

(ACCURACY,), (LOSS,) = parse_objectives("val_accuracy"), parse_objectives("val_loss")
FILES = ("a__best.keras", "a__last.keras")


def checkpoints(folder: SweepFolder, number: int) -> pathlib.Path:
    return folder.run_of(ended(number)).checkpoints_folder


def train(folder: SweepFolder, trial: Trial) -> None:
    """Writes what a trial leaves."""
    path = checkpoints(folder, trial.number)
    path.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (path / name).write_text("weights")


def keeping(folder: SweepFolder, trials: Sequence[Trial]) -> list[int]:
    """Numbers of the trials that have their checkpoints, whole."""
    left = {trial.number: tuple(sorted(path.name for path in checkpoints(folder, trial.number).iterdir()))
            for trial in trials}  # fmt: skip
    assert set(left.values()) <= {(), FILES}
    return [number for number, names in left.items() if names]


def finish_all(
    folder: SweepFolder, trials: Sequence[Trial], *, keep: int, objective: Objective = ACCURACY
) -> CheckpointKeeper:
    keeper = CheckpointKeeper(folder, objective, keep)
    for trial in trials:
        train(folder, trial)
        folder.write_trial(trial)
        keeper.changed(trial)
    return keeper


def test_only_the_best_keep_their_checkpoints(folder: SweepFolder) -> None:
    trials = [ended(number, accuracy) for number, accuracy in enumerate([0.5, 0.9, 0.1, 0.7, 0.8])]
    finish_all(folder, trials, keep=2)
    assert keeping(folder, trials) == [1, 4]


def test_all_keep_theirs_while_there_are_not_more_than_may(folder: SweepFolder) -> None:
    trials = [ended(number, 0.5) for number in range(3)]
    finish_all(folder, trials, keep=3)
    assert keeping(folder, trials) == [0, 1, 2]


def test_of_a_loss_the_smallest_are_best(folder: SweepFolder) -> None:
    trials = [ended(number, 0.0, values={"val_loss": loss}) for number, loss in enumerate([0.5, 0.1, 0.3])]
    finish_all(folder, trials, keep=1, objective=LOSS)
    assert keeping(folder, trials) == [1]


def test_of_equal_trials_the_first_keeps_its_own(folder: SweepFolder) -> None:
    trials = [ended(number, 0.5) for number in range(3)]
    finish_all(folder, trials, keep=1)
    assert keeping(folder, trials) == [0]


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.PRUNED])
def test_what_failed_or_was_given_up_loses_its_own_though_there_is_room(folder: SweepFolder, state: TrialState) -> None:
    trials = [ended(0, 0.1), ended(1, 0.9, state=state)]
    finish_all(folder, trials, keep=5)
    assert keeping(folder, trials) == [0]


@pytest.mark.parametrize("state", [TrialState.WAITING, TrialState.RUNNING])
def test_a_trial_that_has_not_ended_keeps_what_it_goes_on_from(folder: SweepFolder, state: TrialState) -> None:
    trials = [ended(0, 0.9), Trial(1, 1, {}, 0, state)]
    finish_all(folder, trials, keep=1)
    assert keeping(folder, trials) == [0, 1]


def test_a_trial_that_failed_before_it_had_a_run_is_no_trouble(folder: SweepFolder) -> None:
    CheckpointKeeper(folder, ACCURACY, 1).changed(ended(0))
    assert not checkpoints(folder, 0).exists()


def test_a_trial_that_shares_a_run_does_not_count(folder: SweepFolder) -> None:
    trials = [ended(0, 0.9), ended(1, 0.5)]
    keeper = finish_all(folder, trials, keep=2)
    for number in (2, 3):
        keeper.changed(ended(number, 0.9, reused_from=0))
    assert keeping(folder, trials) == [0, 1]


def test_a_trial_that_is_told_twice_counts_once(folder: SweepFolder) -> None:
    trials = [ended(0, 0.9), ended(1, 0.5)]
    keeper = finish_all(folder, trials, keep=2)
    keeper.changed(trials[0])
    assert keeping(folder, trials) == [0, 1]


def test_files_of_a_run_that_are_no_checkpoints_stay(folder: SweepFolder) -> None:
    trial = ended(0)
    train(folder, trial)
    note = checkpoints(folder, 0) / "notes.txt"
    note.write_text("mine")
    CheckpointKeeper(folder, ACCURACY, 1).changed(trial)
    assert list(checkpoints(folder, 0).iterdir()) == [note]


def test_a_resumed_sweep_goes_on_with_those_that_were_kept(folder: SweepFolder) -> None:
    trials = [ended(number, accuracy) for number, accuracy in enumerate([0.5, 0.9, 0.7, 0.8])]
    finish_all(folder, trials[:2], keep=2)
    finish_all(folder, trials[2:], keep=2)
    assert keeping(folder, trials) == [1, 3]


def test_a_resumed_sweep_that_keeps_fewer_removes_the_rest_at_once(folder: SweepFolder) -> None:
    trials = [ended(number, accuracy) for number, accuracy in enumerate([0.5, 0.9, 0.7])]
    finish_all(folder, trials, keep=3)
    CheckpointKeeper(folder, ACCURACY, 1)
    assert keeping(folder, trials) == [1]


@given(st.lists(st.none() | st.integers(0, 4).map(float), max_size=8), st.integers(1, 4), st.randoms())
def test_in_whatever_order_trials_end_the_best_keep_theirs(
    tmp_path_factory: pytest.TempPathFactory, accuracies: list[float | None], keep: int, generator: random.Random
) -> None:
    folder = create_sweep(tmp_path_factory.mktemp("store"), "s", {})
    trials = [ended(number, accuracy) for number, accuracy in enumerate(accuracies)]
    finish_all(folder, generator.sample(trials, len(trials)), keep=keep)
    finished = sorted((accuracy for accuracy in accuracies if accuracy is not None), reverse=True)
    kept = [accuracies[number] for number in keeping(folder, trials)]
    assert sorted(kept, key=str, reverse=True) == finished[:keep]
