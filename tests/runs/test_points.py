"""The file of points, and what it makes of a point that comes twice."""

import logging
import math
import pathlib

import pytest

from dlexp.runs.points import Point, PointLog, read_points


def point(key: str, step: int, value: float) -> Point:
    return Point(key, step, 1, value, "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
def test_value_that_a_resume_repeats_is_written_once_and_without_a_word(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, value: float
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert len(PointLog(path).append([point("loss", 1, value)])) == 1
    assert PointLog(path).append([point("loss", 1, value)]) == []
    assert len(read_points(path)) == 1
    assert caplog.messages == []


@pytest.mark.parametrize("is_resumed", [False, True])
def test_repeat_with_another_value_is_never_dropped_without_a_word(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, is_resumed: bool
) -> None:
    log = PointLog(tmp_path / "metrics.jsonl")
    log.append([point("loss", 7, 0.5)])
    if is_resumed:
        log = PointLog(tmp_path / "metrics.jsonl")
    with caplog.at_level(logging.WARNING):
        assert log.append([point("loss", 7, 0.25), point("val_loss", 7, 1.0)]) == [point("val_loss", 7, 1.0)]
    assert "loss at step 7, recorded as 0.5, now 0.25" in caplog.text
    assert [kept.value for kept in log.points] == [0.5, 1.0]


@pytest.mark.parametrize("key", ["epoch_seconds", "steps/step_seconds", "images_per_second", "load/cpu_percent"])
def test_time_and_load_may_differ_in_a_repeat(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    log = PointLog(tmp_path / "metrics.jsonl")
    log.append([point(key, 7, 0.5)])
    assert log.append([point(key, 7, 0.25)]) == []
    assert caplog.messages == []
