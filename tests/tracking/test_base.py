"""All trackers as one: one that fails is left alone."""

import logging
from collections.abc import Sequence

import pytest

from dlexp.runs.points import Point
from dlexp.runs.run import Status
from dlexp.tracking.base import CompositeTracker, RunDescription, Tracker


class Recording(Tracker):
    """Remembers its calls; fails from a chosen call on."""

    name = "recording"

    def __init__(self, *, fails: bool = False) -> None:
        self.calls: list[str] = []
        self._fails = fails

    def start(self, description: RunDescription) -> None:
        self._note("start")

    def resume(self, description: RunDescription, points: Sequence[Point]) -> None:
        self._note("resume")

    def log_points(self, points: Sequence[Point]) -> None:
        self._note("log_points")

    def finish(self, status: Status) -> None:
        self._note(f"finish {status}")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self._fails:
            raise ConnectionError("no route to host")


def test_tracker_that_fails_is_named_once_and_the_others_go_on(
    description: RunDescription, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = Recording(fails=True), Recording()
    tracker = CompositeTracker([bad, good])
    with caplog.at_level(logging.WARNING):
        tracker.start(description)
        tracker.log_points([])
        tracker.finish(Status.FINISHED)
    assert bad.calls == ["start"]
    assert good.calls == ["start", "log_points", "finish FINISHED"]
    assert caplog.text.count("recording failed (ConnectionError: no route to host)") == 1
