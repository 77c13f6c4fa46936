"""Measured values, and the file of a run that holds them all: `metrics.jsonl`."""

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
        epoch: epochs completed, counted from 1.
        value: the value; may be NaN or infinite.
        time: when, as ISO 8601 in UTC.
    """

    key: str
    step: int
    epoch: int
    value: float
    time: str


class PointLog:
    """Appends points to a file, each (key, step) once.

    A resume takes steps again that were taken after the last checkpoint; they give the same values, so that the first
    measurement stands.

    Args:
        path: of the file. A last line that a kill has cut short is removed.

    Attributes:
        points: all there are, in the order of the file.
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
        """Writes the points that are new, and returns them."""
        new = [point for point in points if (point.key, point.step) not in self._seen]
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(dataclasses.asdict(point)) + "\n" for point in new))
        self._seen |= {(point.key, point.step) for point in new}
        self.points += new
        return new


def read_points(path: pathlib.Path) -> list[Point]:
    """The points of a file, none if it is not there; a last line that is cut short does not count."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [Point(**json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]
