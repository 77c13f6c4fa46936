"""Measured values of a run, and the file that stores them: `metrics.jsonl`."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One measured value, a line of `metrics.jsonl`.

    Attributes:
        key: name of the metric, such as `val_accuracy`.
        step: optimizer steps taken when it was measured.
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
    measurement is kept.

    Args:
        path: of the file. An incomplete last line, left by a killed process, is removed.

    Attributes:
        points: all points of the file, in its order.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.points = read_points(path)
        self._seen = {(point.key, point.step) for point in self.points}
        if path.exists():
            contents = path.read_bytes()
            whole = contents.rfind(b"\n") + 1
            if whole < len(contents):
                with path.open("r+b") as file:
                    file.truncate(whole)

    def append(self, points: Iterable[Point]) -> Sequence[Point]:
        """Writes the new points, and returns them."""
        new = [point for point in points if (point.key, point.step) not in self._seen]
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(dataclasses.asdict(point)) + "\n" for point in new))
        self._seen |= {(point.key, point.step) for point in new}
        self.points += new
        return new


def read_points(path: pathlib.Path) -> list[Point]:
    """Reads the points of a file; returns none if there is no file, and ignores an incomplete last line."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [Point(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]
