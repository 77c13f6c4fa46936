"""Run as a module: drives a launcher in a process of its own, which a test can kill."""

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
from dlexp.testing.fake_trials import fake_job

_PIDS = "pids "


@contextlib.contextmanager
def start_driver(
    name: str, options: Mapping[str, Any], jobs: Mapping[int, str]
) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """Starts a process that makes a launcher and starts trials; kills it at the end of the block.

    Args:
        name: `module:name` of what makes the launcher.
        options: its arguments.
        jobs: what each trial does, by its number: each must tell of an epoch.

    Yields:
        The process, and the others that it has brought: its children, theirs, and those that its trials have told of.
    """
    command = [sys.executable, "-m", __name__, json.dumps([name, dict(options), dict(jobs)])]
    driver = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None  # a pipe was asked for
    try:
        line = next((line for line in driver.stdout if line.startswith(_PIDS)), None)
        assert line is not None, f"a process with this launcher ended with exit code {driver.wait()}"
        children = psutil.Process(driver.pid).children(recursive=True)
        yield driver, {*json.loads(line.removeprefix(_PIDS)), *(each.pid for each in children)}
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()


def check_gone(pids: Collection[int], seconds: float) -> None:
    """Asserts that processes are gone before so many seconds are over; those that are left it kills."""
    deadline = time.monotonic() + seconds
    while (left := _find_alive(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [f"{each.pid} ({each.name()})" for each in left]
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    assert not left, f"after {seconds:g} s these processes are left: {', '.join(names)}"


def _find_alive(pids: Collection[int]) -> list[psutil.Process]:
    alive = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:  # one that nobody has waited for
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
