"""The conformance suite of trackers."""

import math
import pathlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.points import Point
from dlexp.runs.run import Run, Status, create_run
from dlexp.tracking.base import BestModel, RunContents, RunDescription, Tracker
from dlexp.tracking.variables import having_variables

_RUN_ID = "0123456789abcdef" * 2
_RUN_ID_PATTERN = re.compile("[0-9a-f]{32}")
_TIME = "2026-11-23T20:15:{:02d}.123Z"
_KEYS = ("loss", "val_loss", "test_accuracy/camera 1", "system/cpu-percent")
_RELATIVE_ERROR = 1e-6  # of float32, which some trackers keep
_INFINITE = 1e300  # some trackers cannot store infinity, and keep the largest number instead
_ENDS = (Status.FAILED, Status.KILLED, Status.DIVERGED, Status.PRUNED, Status.FINISHED)


@dataclass(frozen=True)
class TrackedRun:
    """A run that has not been logged yet, and functions that open a tracker for it and read what was logged.

    Attributes:
        run: the run, with its config and record.
        open: makes a new tracker, as every process that works on the run does.
        read: returns the logged points after the trackers are finished, as (key, step, value), in any order.
    """

    run: Run
    open: Callable[[], Tracker]
    read: Callable[[], Collection[tuple[str, int, float]]]


def make_tracked_run(
    store: pathlib.Path,
    build: Callable[[Any], Tracker],
    read: Callable[[pathlib.Path], Collection[tuple[str, int, float]]],
    *,
    run_id: str = _RUN_ID,
    **values: Any,
) -> TrackedRun:
    """Makes a run for the suite.

    Args:
        store: an empty folder.
        build: the registered function, which makes the tracker from a `TrackingConfig`.
        read: takes the run folder, and returns the logged points as (key, step, value).
        run_id: ID of the run, 32 hex digits.
        values: config fields of the run.
    """
    config = ExperimentConfig.of(store=str(store), **values)
    run = create_run(store, run_id, name="conformance", config=config)
    return TrackedRun(run, lambda: build(config.tracking), lambda: read(run.path))


class TrackerContract:
    """Tests every promise of `dlexp.Tracker`.

    Use it as the base of a class whose name begins with Test, and which has the fixture `tracked`.

    Example:
        >>> class TestMyTracker(TrackerContract):
        ...     @pytest.fixture
        ...     def tracked(self, tmp_path):
        ...         return make_tracked_run(tmp_path, MyTracker, read_my_points)
    """

    def test_its_name_is_text(self, tracked: TrackedRun) -> None:
        """Warnings contain the name."""
        name = tracked.open().name
        assert isinstance(name, str) and name, f"name is {name!r}: it must be text"  # noqa: PT018

    def test_points_are_read_back_as_they_were_logged(self, tracked: TrackedRun) -> None:
        """Also keys with `/` and steps that are far apart; at least to the precision of float32."""
        points = _points(steps=(1, 2, 70, 5_000_000_000))
        _track(tracked, points[:5], points[5:])
        _check_points(tracked, points)

    def test_values_that_are_not_finite_are_kept(self, tracked: TrackedRun) -> None:
        """NaN as NaN; infinity as infinity, or as a number above 1e300."""
        values = {"nan": math.nan, "up": math.inf, "down": -math.inf}
        points = [_point(key, 3, value) for key, value in values.items()]
        _track(tracked, points)
        _check_points(tracked, points)

    def test_a_thousand_points_in_small_batches_are_all_there(self, tracked: TrackedRun) -> None:
        """No point is lost, and none is there twice."""
        points = _points(steps=range(1, 251))
        _track(tracked, *(points[first : first + 20] for first in range(0, len(points), 20)))
        _check_points(tracked, points)

    def test_points_at_one_step_may_come_one_by_one(self, tracked: TrackedRun) -> None:
        """`val_*` come after the training metrics of their step, `test_*` after both; a batch may also be empty."""
        points = _points(steps=(8, 9))
        _track(tracked, *([point] for point in points), [])
        _check_points(tracked, points)

    def test_a_resume_leaves_each_point_once(self, tracked: TrackedRun) -> None:
        """Points that were logged before the stop, points that were lost, and points after the resume."""
        points = _points(steps=range(1, 31))
        _track(tracked, points[:40], status=Status.KILLED)
        _track(tracked, points[100:], resumed=points[:100])
        _check_points(tracked, points)

    def test_a_resume_may_be_the_first_that_it_hears_of_a_run(self, tracked: TrackedRun) -> None:
        """For example if the tracker was switched on for the resume."""
        points = _points(steps=(4, 5, 6))
        _track(tracked, points[8:], resumed=points[:8])
        _check_points(tracked, points)

    def test_it_can_be_resumed_however_it_ended(self, tracked: TrackedRun) -> None:
        """Every status closes the run, and a closed run can always be resumed."""
        points = _points(steps=range(1, 5))
        _track(tracked, points[:4], status=_ENDS[0])
        for number, status in enumerate(_ENDS[1:], start=1):
            _track(tracked, points[number * 4 : number * 4 + 4], resumed=points[: number * 4], status=status)
        _check_points(tracked, points)

    def test_a_sync_fills_in_what_is_missing_of_a_run_that_has_ended(self, tracked: TrackedRun) -> None:
        """Every point is there once, with pictures and a best model, even after several syncs."""
        points = _points(steps=range(1, 11))
        picture = tracked.run.path / "history.png"
        Image.new("RGB", (6, 4)).save(picture)
        _track(tracked, points[:14], status=Status.KILLED)
        best = _best(tracked, step=10)
        tracked.run.update(status=Status.FINISHED, ended=_TIME.format(59))
        for _ in range(2):
            ended = tracked.run.record()["ended"]
            contents = RunContents(_describe(tracked), points, {"history": picture}, 10, best, Status.FINISHED, ended)
            summary = tracked.open().sync(contents)
            assert isinstance(summary, str), f"sync returned {summary!r}: it must be text"
        _check_points(tracked, points)

    def test_pictures_are_taken_at_any_time(self, tracked: TrackedRun) -> None:
        """Before the first point, after the last one, and after a resume; in grey, colour and with transparency."""
        modes = {"L": "confusion", "RGB": "predictions/worst", "RGBA": "curves", "P": "samples"}
        paths = {mode: tracked.run.path / f"{mode}.png" for mode in modes}
        for mode, path in paths.items():
            Image.new(mode, (6, 4)).save(path)
        points, tracker = _points(steps=(7,)), _start(tracked)
        for mode, key in modes.items():
            tracker.log_image(key, paths[mode], step=3)
        tracker.log_points(points)
        tracker.log_image("predictions/worst", paths["RGB"], step=7)
        tracker.finish(Status.KILLED)
        tracker = _resume(tracked, points)
        tracker.log_image("predictions/worst", paths["RGB"], step=9)
        tracker.finish(Status.FINISHED)
        _check_points(tracked, points)

    def test_histograms_are_taken_at_any_time(self, tracked: TrackedRun) -> None:
        """Of any shape and type, also with values that are not finite; the arrays are not changed."""
        arrays: dict[str, np.ndarray] = {
            "weights/dense/kernel": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
            "weights/half": np.ones(3, np.float16),
            "weights/scalar": np.array(0.5, np.float32),
            "gradients/partly": np.array([1.0, math.nan, math.inf]),
            "gradients/lost": np.full(4, math.nan),
        }
        copies = {name: array.copy() for name, array in arrays.items()}
        points, tracker = _points(steps=(7,)), _start(tracked)
        tracker.log_histograms(arrays, step=3)
        tracker.log_points(points)
        tracker.log_histograms(arrays, step=7)
        tracker.finish(Status.KILLED)
        tracker = _resume(tracked, points)
        tracker.log_histograms(arrays, step=9)
        tracker.finish(Status.FINISHED)
        changed = [name for name in arrays if not np.array_equal(arrays[name], copies[name], equal_nan=True)]
        assert not changed, f"the arrays {changed} have changed"
        _check_points(tracked, points)

    def test_the_best_model_is_taken_after_the_last_point(self, tracked: TrackedRun) -> None:
        """Also with metrics that are not finite."""
        points, tracker = _points(steps=(7,)), _start(tracked)
        tracker.log_points(points)
        tracker.log_best(_best(tracked, step=7))
        tracker.finish(Status.FINISHED)
        _check_points(tracked, points)

    def test_the_ids_that_it_gives_are_new(self, tracked: TrackedRun) -> None:
        """None, or 32 hex digits that no other run has; a run that never starts can be finished."""
        trackers = [tracked.open(), tracked.open()]
        ids = [tracker.claim_run("conformance") for tracker in trackers]
        for tracker in reversed(trackers):
            tracker.finish(Status.FAILED)
        given = [run_id for run_id in ids if run_id is not None]
        wrong = [run_id for run_id in given if not _RUN_ID_PATTERN.fullmatch(run_id)]
        assert not wrong, f"claim_run returned {wrong}: an ID has 32 hex digits"
        assert len({*given, tracked.run.id}) == len(given) + 1, f"of the IDs {[*given, tracked.run.id]} two are equal"

    def test_its_callbacks_are_callbacks_of_keras(self, tracked: TrackedRun) -> None:
        """In the process that starts the run, and in the process that resumes it."""
        import keras

        tracker = _start(tracked)
        found = [*tracker.keras_callbacks()]
        tracker.finish(Status.KILLED)
        tracker = _resume(tracked, [])
        found += tracker.keras_callbacks()
        tracker.finish(Status.FINISHED)
        wrong = [callback for callback in found if not isinstance(callback, keras.callbacks.Callback)]
        assert not wrong, f"keras_callbacks returned {wrong}: all must be keras.callbacks.Callback"

    def test_it_can_be_finished_without_a_start(self, tracked: TrackedRun) -> None:
        """For example if the run failed before it began."""
        tracker = tracked.open()
        try:
            tracker.finish(Status.FAILED)
        except Exception as err:
            raise AssertionError(f"finish without start raised {type(err).__name__}: {err}") from err

    def test_it_prints_nothing(self, tracked: TrackedRun, capfd: Any) -> None:
        """Other programs read the stdout of a command."""
        capfd.readouterr()
        points = _points(steps=(1, 2))
        _track(tracked, points, status=Status.KILLED)
        _track(tracked, resumed=points)
        printed = capfd.readouterr().out
        assert not printed, f"it printed {printed[:200]!r}"

    def test_files_of_the_run_stay_as_they_are(self, tracked: TrackedRun) -> None:
        """A tracker may add files to the run folder; it only changes and removes its own files."""
        before = {path: path.read_bytes() for path in tracked.run.path.rglob("*") if path.is_file()}
        points = _points(steps=(1, 2))
        _track(tracked, points, status=Status.KILLED)
        _track(tracked, resumed=points)
        changed = [str(path) for path, contents in before.items() if not _holds(path, contents)]
        assert not changed, f"the files {changed} have changed"

    def test_it_leaves_nothing_in_the_working_directory(
        self, tracked: TrackedRun, tmp_path_factory: Any, monkeypatch: Any
    ) -> None:
        """It writes only below the run folder or the store."""
        folder = tmp_path_factory.mktemp("working_directory")
        monkeypatch.chdir(folder)
        _track(tracked, _points(steps=(1, 2)))
        left = sorted(path.name for path in folder.iterdir())
        assert not left, f"it left {left} in the working directory"


def _point(key: str, step: int, value: float) -> Point:
    return Point(key, step, 1, value, _TIME.format(step % 60))


def _points(*, steps: Collection[int]) -> list[Point]:
    """Returns a point for every key and step, with values that are all different."""
    keys_and_steps = [(key, step) for step in steps for key in _KEYS]
    return [_point(key, step, 1 / (number + 3)) for number, (key, step) in enumerate(keys_and_steps)]


def _describe(tracked: TrackedRun) -> RunDescription:
    profile = {"counts_by_source": {"digits": {"train": 3}}, "counts": {"train": 3}}
    facts = {"num_parameters": 7, "steps_per_execution": 1}
    return RunDescription(
        tracked.run, "conformance", tracked.run.config(), "digits", "0123456789abcdef", profile, facts
    )


def _best(tracked: TrackedRun, *, step: int) -> BestModel:
    """Returns a best model with a metric that is not finite; Keras cannot open its file."""
    checkpoint = tracked.run.checkpoints_folder / "best.keras"
    checkpoint.write_bytes(b"the best weights")
    return BestModel(
        checkpoint,
        epoch=1,
        step=step,
        metrics={"val_accuracy": 0.5, "test_loss": math.nan},
        image_shape=(8, 8, 1),
        class_names=("even", "odd"),
        weights_digest="0" * 32,
    )


def _start(tracked: TrackedRun) -> Tracker:
    tracker = tracked.open()
    tracker.start(_describe(tracked))
    return tracker


def _resume(tracked: TrackedRun, points: Sequence[Point]) -> Tracker:
    tracker = tracked.open()
    tracker.resume(_describe(tracked), points)
    return tracker


def _track(
    tracked: TrackedRun,
    *batches: Sequence[Point],
    resumed: Sequence[Point] | None = None,
    status: Status = Status.FINISHED,
) -> None:
    """Does what a training does in one process: starts or resumes a run, logs batch by batch, finishes."""
    with having_variables():
        tracker = _start(tracked) if resumed is None else _resume(tracked, resumed)
        for batch in batches:
            tracker.log_points(batch)
        tracker.finish(status)


def _check_points(tracked: TrackedRun, expected: Sequence[Point]) -> None:
    found = list(tracked.read())
    twice = [place for place, count in Counter((key, step) for key, step, _ in found).items() if count > 1]
    assert not twice, f"(key, step) occur twice: {twice[:5]}"
    wanted, read = {(point.key, point.step) for point in expected}, {(key, step) for key, step, _ in found}
    assert not wanted - read, f"{len(wanted - read)} points are missing: {sorted(wanted - read)[:5]}"
    assert not read - wanted, f"{len(read - wanted)} points were never logged: {sorted(read - wanted)[:5]}"
    values = {(key, step): value for key, step, value in found}
    differing = [
        (point.key, point.step, point.value, values[point.key, point.step])
        for point in expected
        if not _is_equal(point.value, values[point.key, point.step])
    ]
    assert not differing, f"(key, step, logged, read) differ: {differing[:5]}"


def _is_equal(logged: float, read: float) -> bool:
    if math.isnan(logged):
        return math.isnan(read)
    if math.isinf(logged):
        return math.copysign(1, logged) * read > _INFINITE
    return math.isclose(logged, read, rel_tol=_RELATIVE_ERROR)


def _holds(path: pathlib.Path, contents: bytes) -> bool:
    return path.is_file() and path.read_bytes() == contents
