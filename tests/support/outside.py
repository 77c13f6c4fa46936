"""Runs a command in a process and measures its peak memory from outside: `python -S -E outside.py REPORT COMMAND ...`.

The kernel counts the memory of a parent as the memory of its child until the child has begun its own program. So the
command is started by this script, which is small, and not by a process that has imported TensorFlow.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: its exit code.
        peak_bytes: the largest resident memory that it had, as the kernel reports it to its parent.
        output: what it printed, to stdout and stderr.
    """

    code: int
    peak_bytes: int
    output: str


def run_dlexp(words: Sequence[str], *, folder: pathlib.Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Runs a dlexp command in a folder, in a fresh process."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        command = [sys.executable, "-S", "-E", __file__, report.name]
        command += [sys.executable, "-m", "dlexp.commands.cli", *words]
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **(environment or {})}, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        measured = json.loads(pathlib.Path(report.name).read_text(encoding="utf-8"))
    return Ended(measured["code"], measured["peak_bytes"], done.stdout)


def main(report: str, *command: str) -> None:
    """Runs a command, and writes its exit code and its peak memory."""
    pid = os.fork()
    if pid == 0:
        os.execvp(command[0], command)
    _, status, usage = os.wait4(pid, 0)
    measured = {"code": os.waitstatus_to_exitcode(status), "peak_bytes": usage.ru_maxrss * 1024}
    pathlib.Path(report).write_text(json.dumps(measured), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
