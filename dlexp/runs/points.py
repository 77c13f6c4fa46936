"""Measured values of a run, and the file that stores them: `metrics.jsonl`."""

import dataclasses
import json
import logging
import math
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dlexp.machine.timestamps import now

_log = logging.getLogger(__name__)
# Keys whose values depend on the machine and its load, and so differ when a resume repeats a step.
_OF_THE_MACHINE = re.compile(r"(steps/)?(load/.+|.+_seconds|images_per_second)")


@dataclass(frozen=True)
class Point:
    """One measured value, a line of `metrics.jsonl`.

    Attributes:
        key: name of the metric, such as `val_accuracy`.
        step: training steps taken when it was measured, whether or not they updated the weights.
        epoch: number of the epoch, counted from 1.
        value: the value; may be NaN or infinite.
        time: when it was measured, as ISO 8601 in UTC.
    """

    key: str
    step: int
    epoch: int
    value: float
    time: str


class PointLog:
    """Appends points to a file; a point with the same key and step is written only once.

    A resumed run repeats the steps that were taken after the last checkpoint. They give the same values, so the first
    measurement is kept. If a value differs, the first is kept too, with a warning; times and load always differ.

    Args:
        path: of the file. An incomplete last line, left by a killed process, is removed.

    Attributes:
        points: all points of the file, in its order.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.points = read_points(path)
        self._first = {(point.key, point.step): point for point in self.points}
        if path.exists():
            contents = path.read_bytes()
            whole = contents.rfind(b"\n") + 1
            if whole < len(contents):
                with path.open("r+b") as file:
                    file.truncate(whole)

    def append(self, points: Iterable[Point]) -> Sequence[Point]:
        """Writes the new points, and returns them."""
        new, differing = [], []
        for point in points:
            first = self._first.setdefault((point.key, point.step), point)
            if first is point:
                new.append(point)
            elif not _agree(first, point):
                differing.append((first, point))
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(dataclasses.asdict(point)) + "\n" for point in new))
        self.points += new
        if differing:
            first, repeat = differing[0]
            _log.warning(
                "%d values differ from those recorded before at the same step, which are kept: the first is %s at step "
                "%d, recorded as %g, now %g; if a resume repeated the step, the training is not reproducible: see "
                "docs/reproducibility.md",
                len(differing), first.key, first.step, first.value, repeat.value,
            )  # fmt: skip
        return new


def _agree(first: Point, repeat: Point) -> bool:
    """Whether two points of one key and step are the same measurement."""
    both_nan = math.isnan(first.value) and math.isnan(repeat.value)
    return first.value == repeat.value or both_nan or bool(_OF_THE_MACHINE.fullmatch(first.key))


def make_points(values: Mapping[str, float], *, step: int, epoch: int) -> list[Point]:
    """Points from values by key, all with the current time."""
    moment = now()
    return [Point(key, step, epoch, float(value), moment) for key, value in values.items()]


def read_points(path: pathlib.Path) -> list[Point]:
    """Reads the points of a file; returns none if there is no file, and ignores an incomplete last line."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [Point(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]
