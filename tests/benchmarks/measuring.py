"""Measures two sides in turn, and formats the result as a row of a table."""

import datetime
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from dlexp.runs.environment import describe_machine

_Result = TypeVar("_Result")
_HEADINGS = ("what", "dlexp", "peer", "ratio", "aim", "met?")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: what was measured, with its unit.
        dlexp: the figure of dlexp.
        peer: the figure of the other side.
        peer_name: name of the other side.
        aim: the aim in words; empty for a figure without an aim.
        met: whether the aim was met; None without an aim.
        digits: number of decimals of the two figures.
    """

    what: str
    dlexp: float
    peer: float
    peer_name: str
    aim: str = ""
    met: bool | None = None
    digits: int = 2

    def cells(self) -> tuple[str, ...]:
        """Returns the cells as text: what, dlexp, peer, ratio, aim, met?"""
        dlexp, peer = (f"{figure:,.{self.digits}f}" for figure in (self.dlexp, self.peer))
        met = "" if self.met is None else "yes" if self.met else "no"
        return self.what, dlexp, f"{peer} ({self.peer_name})", f"{self.dlexp / self.peer:.2f}", self.aim, met


def interleave(sides: Mapping[str, Callable[[], _Result]], *, repeats: int) -> dict[str, list[_Result]]:
    """Measures every side once, then every side again, so that other load of the machine affects all sides equally."""
    results: dict[str, list[_Result]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, measure in sides.items():
            results[side].append(measure())
    return results


def seconds_of(act: Callable[[], object]) -> float:
    """Returns the seconds that a call takes."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def process_seconds(command: Sequence[str]) -> float:
    """Returns the seconds from the start of a process to its end.

    Raises:
        subprocess.CalledProcessError: it failed; its stderr is printed.
    """
    return seconds_of(lambda: run_process(command))


def process_report(command: Sequence[str]) -> dict[str, Any]:
    """Runs a process that prints a JSON object as its last line, and returns that object.

    The environment variable `BENCH_STARTED` holds the start time of the process, in seconds since 1970.

    Raises:
        subprocess.CalledProcessError: it failed; its stderr is printed.
    """
    return dict(json.loads(run_process(command, BENCH_STARTED=str(time.time())).splitlines()[-1]))


def run_process(command: Sequence[str], **environment: str) -> str:
    """Runs a process and returns its stdout; prints its stderr only if it fails.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout


def images_per_second(datasets: Iterable[Iterable[tuple[Any, Any]]]) -> float:
    """Returns the speed of iterating over datasets of (images, labels), one after another as `fit` does over epochs."""
    started = time.perf_counter()
    count = sum(len(labels) for _, labels in itertools.chain.from_iterable(datasets))
    return count / (time.perf_counter() - started)


def format_table(rows: Iterable[Row]) -> str:
    """Returns the rows as a Markdown table with aligned columns."""
    lines = [_HEADINGS, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def describe_measurement() -> str:
    """Describes the measurement: processor, cores, versions, date."""
    machine = describe_machine()
    versions = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "mlflow"))
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{machine['processor']}, {machine['cpu_count']} cores; Python {machine['python']}, {versions}; {today}"
