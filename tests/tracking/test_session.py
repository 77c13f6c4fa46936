"""A run that is open: which of its trackers are asked for an ID, called, left out, and noted when they fail."""

import contextlib
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets.dataset import Dataset, open_dataset
from dlexp.errors import DivergedError, DlexpError, InterruptedRunError, PrunedError, StoreError
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status, SweepTrial
from dlexp.tracking.base import RunDescription, Tracker
from dlexp.tracking.session import open_run, reopen_run

TRIAL = SweepTrial("first", 7, "7" * 32)


class Recording(Tracker):
    """Remembers how it was called; `fails` is the method that raises."""

    def __init__(self, name: str, *, gives: str | None = None, fails: str = "") -> None:
        self.name, self.calls = name, list[str]()
        self._gives, self._fails = gives, fails

    def claim_run(self, name: str) -> str | None:
        self._note("claim_run")
        return self._gives

    def start(self, description: RunDescription) -> None:
        self._note(f"start {description.run.id[:2]}")

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        self._note(f"resume {description.run.id[:2]}")

    def keras_callbacks(self) -> Sequence[keras.callbacks.Callback]:
        self._note("keras_callbacks")
        return [keras.callbacks.Callback()]

    def log_points(self, points: Sequence[Point]) -> None:
        self._note("log_points")

    def finish(self, status: Status) -> None:
        self._note(f"finish {status}")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self._fails and call.startswith(self._fails):
            raise StoreError(f"{self.name} has no room")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset(DataConfig())


@pytest.fixture
def track(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, dataset: Dataset) -> Callable[..., Run]:
    """Opens and closes a run with the given trackers, or opens one again."""

    def work(*trackers: Tracker, trial: SweepTrial | None = None, run: Run | None = None) -> Run:
        builders = [type(tracker.name, (), {"__new__": lambda cls, tracking, built=tracker: built,
                                            "copied_by_driver": tracker.copied_by_driver, "name": tracker.name})
                    for tracker in trackers]  # fmt: skip
        monkeypatch.setattr("dlexp.tracking.session.tracker_builders", lambda tracking: builders)
        config = ExperimentConfig.of(store=str(tmp_path))
        opened = reopen_run(run, config, dataset, {}, trial) if run else open_run(config, dataset, {}, trial)
        with opened as session:
            session.tracker.keras_callbacks()
        return session.run

    return work


def unsynced(run: Run) -> Any:
    return run.record().get("unsynced", [])


def test_the_id_is_that_of_the_first_tracker_that_gives_one(track: Callable[..., Run]) -> None:
    trackers = [Recording("a"), Recording("b", gives="b" * 32), Recording("c", gives="c" * 32)]
    run = track(*trackers)
    assert run.id == "b" * 32
    rest = ["start bb", "keras_callbacks", "finish FINISHED"]
    assert [tracker.calls for tracker in trackers] == [["claim_run", *rest], ["claim_run", *rest], rest]
    assert unsynced(run) == []


def test_without_a_tracker_that_gives_an_id_the_run_has_a_new_one(track: Callable[..., Run]) -> None:
    ids = {track(Recording("a")).id for _ in range(2)}
    assert len(ids) == 2
    assert all(len(run_id) == 32 for run_id in ids)


def test_a_tracker_that_gives_no_id_as_it_fails_is_left_out_and_the_next_one_is_asked(
    track: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Recording("bad", fails="claim_run"), Recording("good", gives="d" * 32)
    with caplog.at_level(logging.WARNING):
        run = track(bad, good)
    assert (run.id, bad.calls, unsynced(run)) == ("d" * 32, ["claim_run"], ["bad"])
    assert "bad has no room; the run" in caplog.text
    assert "bad lacks a part of this run: add it with dlexp sync dddddddd" in caplog.text


@pytest.mark.parametrize("method", ["start", "keras_callbacks", "finish"])
def test_a_tracker_that_fails_later_is_noted_and_the_others_are_called(method: str, track: Callable[..., Run]) -> None:
    bad, good = Recording("bad", fails=method), Recording("good")
    run = track(bad, good)
    assert bad.calls[-1].startswith(method)
    assert good.calls[-1] == "finish FINISHED"
    assert unsynced(run) == ["bad"]


def test_a_run_that_is_resumed_keeps_its_id_and_asks_for_none(track: Callable[..., Run]) -> None:
    run = track(Recording("a", gives="a" * 32))
    again = Recording("a", gives="b" * 32)
    assert track(again, run=run).id == "a" * 32
    assert again.calls == ["resume aa", "keras_callbacks", "finish FINISHED"]


class LeftToDriver(Recording):
    copied_by_driver = True


@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_trial_calls_no_tracker_that_the_driver_copies_and_notes_it(
    is_resumed: bool, track: Callable[..., Run]
) -> None:
    run = track(Recording("a"), trial=TRIAL) if is_resumed else None
    left, own = LeftToDriver("left", gives="e" * 32), Recording("own", gives="f" * 32)
    run = track(left, own, trial=TRIAL, run=run)
    assert (run.id, left.calls, unsynced(run)) == (TRIAL.run_id, [], ["left"])
    assert own.calls == [f"{'resume' if is_resumed else 'start'} 77", "keras_callbacks", "finish FINISHED"]


def test_a_trial_that_is_resumed_by_hand_calls_all_of_its_trackers(track: Callable[..., Run]) -> None:
    run = track(LeftToDriver("left"), trial=TRIAL)
    left = LeftToDriver("left")
    track(left, run=run)
    assert (left.calls[0], unsynced(run)) == ("resume 77", [])


@pytest.mark.parametrize("error", [PrunedError("others are better"), DivergedError(7)])
def test_a_run_that_ends_early_shows_its_best_epoch_as_the_last_value(
    error: DlexpError, tmp_path: pathlib.Path, dataset: Dataset
) -> None:
    config = ExperimentConfig.of(store=str(tmp_path))
    with contextlib.suppress(DlexpError), open_run(config, dataset, {}) as session:
        session.log_values({"val_accuracy": 0.9}, step=10, epoch=1)
        session.log_values({"val_accuracy": 0.7}, step=20, epoch=2)
        session.run.update(best_epoch=1, metrics={"val_accuracy": 0.9})
        raise error
    points = session.run.points().set_index("key")
    assert (points.loc["best/val_accuracy", "value"], points.loc["best/val_accuracy", "step"]) == (0.9, 20)
    assert points.loc["best_epoch", "value"] == 1


def test_a_run_that_can_be_resumed_shows_no_best_epoch_yet(tmp_path: pathlib.Path, dataset: Dataset) -> None:
    """The points of a resumed run are those of one that was never stopped."""
    config = ExperimentConfig.of(store=str(tmp_path))
    with contextlib.suppress(InterruptedRunError), open_run(config, dataset, {}) as session:
        session.log_values({"val_accuracy": 0.9}, step=10, epoch=1)
        session.run.update(best_epoch=1, metrics={"val_accuracy": 0.9})
        raise InterruptedRunError("stopped by SIGTERM")
    assert session.run.points()["key"].tolist() == ["val_accuracy"]
