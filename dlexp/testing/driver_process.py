"""Drives a launcher in a separate process, which a test can kill; that process runs this module as a script."""

import contextlib
import json
import pkgutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import psutil

from dlexp.sweeps.launchers.base import EpochEnded
from dlexp.testing import launching
from dlexp.testing.fake_trials import fake_job

_PIDS = "pids "


@contextlib.contextmanager
def start_driver(
    name: str, options: Mapping[str, Any], jobs: Mapping[int, str]
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """Starts a process that makes a launcher and starts trials; kills it at the end of the block.

    Args:
        name: `module:name` of the class or function that makes the launcher.
        options: its arguments.
        jobs: the steps of each trial, by its number; every trial must report an epoch.

    Yields:
        The process, and the processes that it has started: its descendants, and those that its trials reported.
    """
    command = [sys.executable, "-m", __name__, json.dumps([name, dict(options), dict(jobs)])]
    driver = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None  # a pipe was asked for
    try:
        line = next((line for line in driver.stdout if line.startswith(_PIDS)), None)
        assert line is not None, f"a process with this launcher ended with exit code {driver.wait()}"
        reported = [psutil.Process(pid) for pid in json.loads(line.removeprefix(_PIDS))]
        yield driver, [*reported, *psutil.Process(driver.pid).children(recursive=True)]
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()


def check_gone(processes: Collection[psutil.Process]) -> None:
    """Asserts that processes end within `PATIENCE_SECONDS`, and kills those that do not.

    Args:
        processes: objects made while the processes were alive, as process IDs are used again later.
    """
    seconds = launching.PATIENCE_SECONDS
    deadline = time.monotonic() + seconds
    while (left := _find_alive(processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [f"{process.pid} ({process.name()})" for process in left]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    assert not left, f"after {seconds:g} s these processes are still running: {', '.join(names)}"


def _find_alive(processes: Collection[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            # A zombie has ended; only its parent has not waited for it yet.
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def _drive(name: str, options: Mapping[str, Any], jobs: Mapping[str, str]) -> None:
    launcher = pkgutil.resolve_name(name)(**options)
    for trial, does in jobs.items():
        launcher.start(fake_job(int(trial), does))
    pids: dict[int, int] = {}
    while len(pids) < len(jobs):
        pids |= {event.trial: int(event.metrics["pid"]) for event in launcher.wait(1) if isinstance(event, EpochEnded)}
    print(_PIDS + json.dumps(list(pids.values())), flush=True)
    while True:
        launcher.wait(1)


if __name__ == "__main__":
    _drive(*json.loads(sys.argv[1]))
