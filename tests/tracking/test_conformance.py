"""Every tracker keeps the contract; and the suite that says so finds those that do not."""

import json
import math
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext as does_not_raise
from typing import Any

import mlflow
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlexp.plugins import load_plugins
from dlexp.registry import TRACKERS
from dlexp.runs.points import Point
from dlexp.runs.run import Status
from dlexp.testing import TrackedRun, TrackerContract, make_tracked_run
from dlexp.tracking.base import BestModel, RunDescription, Tracker
from dlexp.tracking.mlflow.database import database_path
from tests.support.suites import find_test, names_of, run_suite_test
from tests.support.wandb_files import read_wandb

Found = list[tuple[str, int, float]]


def read_tensorboard(run_folder: pathlib.Path) -> Found:
    accumulator = EventAccumulator(str(run_folder / "tensorboard"), size_guidance={"tensors": 0})
    accumulator.Reload()
    scalars = accumulator.summary_metadata
    return [
        (tag, event.step, float(tf.make_ndarray(event.tensor_proto)))
        for tag, metadata in scalars.items()
        if metadata.plugin_data.plugin_name == "scalars"
        for event in accumulator.Tensors(tag)
    ]


def read_mlflow(run_folder: pathlib.Path) -> Found:
    return read_points(f"sqlite:///{database_path(run_folder.parents[2])}", run_folder.parent.name)


def read_points(uri: str, run_id: str) -> Found:
    """What MLflow has of a run."""
    client = mlflow.MlflowClient(uri)
    return [
        (key, metric.step, metric.value)
        for key in client.get_run(run_id).data.metrics
        for metric in client.get_metric_history(run_id, key)
    ]


def read_offline_wandb(run_folder: pathlib.Path) -> Found:
    return list(read_wandb(run_folder / "wandb").points)


# What each built-in tracker has written of a run, given the run folder.
READERS: dict[str, Callable[[pathlib.Path], Found]] = {
    "mlflow": read_mlflow,
    "tensorboard": read_tensorboard,
    "wandb": read_offline_wandb,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """One for all, as the database of MLflow takes long to make."""
    return tmp_path_factory.mktemp("store")


@pytest.mark.parametrize("name", TRACKERS.builtin_names())
class TestBuiltin(TrackerContract):
    @pytest.fixture
    def tracked(self, name: str, store: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackedRun]:
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert name in READERS, f"the built-in tracker {name!r} needs an entry in READERS of {__file__}"
        # What MLflow samples of the machine would be points that nobody has logged.
        yield make_tracked_run(
            store, TRACKERS.get(name), READERS[name], run_id=uuid.uuid4().hex, system_metrics=False
        )  # fmt: skip
        while mlflow.active_run():  # one for each tracker that was opened and not finished
            mlflow.end_run()


PLUGIN = """
import json
from dlexp import Tracker, register_tracker

@register_tracker("lines")
class Lines(Tracker):
    name = "lines"

    def __init__(self, tracking):
        self.path = None

    def start(self, description):
        self.path = description.run.path / "lines.jsonl"
        self.path.write_text("")

    def resume(self, description, points):
        self.start(description)
        self.log_points(points)

    def log_points(self, points):
        with self.path.open("a") as file:
            file.writelines(json.dumps([point.key, point.step, point.value]) + "\\n" for point in points)

    def finish(self, status):
        pass
"""


def read_lines(run_folder: pathlib.Path) -> Found:
    return [tuple(json.loads(line)) for line in (run_folder / "lines.jsonl").read_text().splitlines()]


class TestPlugin(TrackerContract):
    @pytest.fixture
    def tracked(self, tmp_path: pathlib.Path) -> Iterator[TrackedRun]:
        (tmp_path / "conforming_tracker.py").write_text(PLUGIN)
        with TRACKERS.isolated():
            load_plugins([str(tmp_path / "conforming_tracker.py")])
            yield make_tracked_run(tmp_path / "store", TRACKERS.get("lines"), read_lines)
        sys.modules.pop("conforming_tracker", None)


# Trackers that break one promise each.


class Keeping(Tracker):
    """Writes points into a file; `changes` are done to it in place of its own methods."""

    name = "keeping"

    def __init__(self, **changes: Any) -> None:
        self.path = pathlib.Path()
        vars(self).update({name: self._bind(change) for name, change in changes.items()})

    def _bind(self, change: Any) -> Any:
        return (lambda *words, **named: change(self, *words, **named)) if callable(change) else change

    def start(self, description: RunDescription) -> None:
        self.path = description.run.path / "lines.jsonl"
        self.path.write_text("")

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        self.start(description)
        self.log_points(points)

    def log_points(self, points: Sequence[Point]) -> None:
        write(self, points)

    def finish(self, status: Status) -> None:
        pass


def write(tracker: Keeping, points: Sequence[Point], change: Callable[[float], float] = lambda value: value) -> None:
    with tracker.path.open("a") as file:
        file.writelines(json.dumps([point.key, point.step, change(point.value)]) + "\n" for point in points)


def keep_what_is_there(tracker: Keeping, description: RunDescription, points: Sequence[Point]) -> None:
    tracker.path = description.run.path / "lines.jsonl"
    tracker.path.open("a").close()


def log_again(tracker: Keeping, description: RunDescription, points: Sequence[Point]) -> None:
    keep_what_is_there(tracker, description, points)
    write(tracker, points)


def refuse_the_unknown(tracker: Keeping, description: RunDescription, points: Sequence[Point]) -> None:
    if not (description.run.path / "lines.jsonl").exists():
        raise AssertionError("no such run")
    Keeping.resume(tracker, description, points)


def draw_as_point(tracker: Keeping, key: str, path: pathlib.Path, *, step: int) -> None:
    write(tracker, [Point(key, step, 1, 0.0, "")])


def sort_in_place(tracker: Keeping, values: Mapping[str, np.ndarray], *, step: int) -> None:
    for array in values.values():
        array[...] = 0


def best_as_point(tracker: Keeping, best: BestModel) -> None:
    write(tracker, [Point("best", best.step, 1, 0.0, "")])


def need_a_start(tracker: Keeping, status: Status) -> None:
    tracker.path.read_text()


def take_the_record(tracker: Keeping, status: Status) -> None:
    (tracker.path.parent / "run.json").write_text("{}")


# What is wrong with it, the end of the name of the test that must fail, and what that says.
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({"name": ""}, "name_is_text", "name is ''"),
    ({"log_points": lambda self, points: write(self, points[1:])}, "as_they_were_logged", "are missing"),
    ({"log_points": lambda self, points: write(self, points, round)}, "as_they_were_logged", "differ"),
    ({"log_points": lambda self, points: write(self, points, np.nan_to_num)}, "not_finite_are_kept", "differ"),
    (
        {"log_points": lambda self, points: write(self, [point for point in points if math.isfinite(point.value)])},
        "not_finite_are_kept",
        "missing",
    ),
    ({"log_points": lambda self, points: write(self, [*points, *points])}, "small_batches_are_all_there", "twice"),
    ({"log_points": lambda self, points: write(self, points[:3])}, "small_batches_are_all_there", "missing"),
    ({"log_points": lambda self, points: write(self, points * 2)}, "may_come_one_by_one", "twice"),
    ({"resume": keep_what_is_there}, "leaves_each_point_once", "60 points are missing"),
    ({"resume": log_again}, "leaves_each_point_once", "twice"),
    ({"resume": refuse_the_unknown}, "first_that_it_hears_of_a_run", "no such run"),
    ({"resume": log_again}, "resumed_however_it_ended", "twice"),
    ({"sync": lambda self, contents: ""}, "missing_of_a_run_that_has_ended", "26 points are missing"),
    ({"sync": lambda self, contents: None}, "missing_of_a_run_that_has_ended", "must be text"),
    ({"log_image": draw_as_point}, "pictures_are_taken_at_any_time", "never logged"),
    ({"log_histograms": sort_in_place}, "histograms_are_taken_at_any_time", "have changed"),
    ({"log_best": best_as_point}, "best_model_is_taken_after_the_last_point", "never logged"),
    ({"claim_run": lambda self, name: "run 1"}, "ids_that_it_gives_are_new", "32 hex digits"),
    ({"claim_run": lambda self, name: "0" * 32}, "ids_that_it_gives_are_new", "two are equal"),
    ({"keras_callbacks": lambda self: [print]}, "callbacks_are_callbacks_of_keras", "built-in function print"),
    ({"finish": need_a_start}, "finished_without_a_start", "IsADirectoryError"),
    ({"finish": lambda self, status: print(status)}, "prints_nothing", "KILLED"),
    ({"finish": take_the_record}, "files_of_the_run_stay_as_they_are", "run.json"),
    (
        {"finish": lambda self, status: pathlib.Path("left.txt").write_text("")},
        "leaves_nothing_in_the_working_directory",
        "left.txt",
    ),
]


@pytest.mark.parametrize(("changes", "part", "message"), BROKEN)
def test_a_broken_promise_fails_its_own_test(
    changes: dict[str, Any], part: str, message: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    tracked = make_tracked_run(tmp_path, lambda tracking: Keeping(**changes), read_lines)
    with pytest.raises(AssertionError, match=message):
        run_suite_test(TrackerContract, find_test(TrackerContract, part), tracked, request)


@pytest.mark.parametrize("name", names_of(TrackerContract))
def test_the_tracker_that_is_broken_above_passes_unbroken(
    name: str, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    tracked = make_tracked_run(tmp_path, lambda tracking: Keeping(), read_lines)
    with does_not_raise():
        run_suite_test(TrackerContract, name, tracked, request)


def test_every_test_of_the_suite_has_been_seen_to_fail() -> None:
    assert set(names_of(TrackerContract)) == {find_test(TrackerContract, part) for _, part, _ in BROKEN}
