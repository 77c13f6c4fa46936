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
from dlexp.testing import launching
from dlexp.testing.fake_trials import fake_job

_PIDS = "pids "


@contextlib.contextmanager
def start_driver(
    name: str, options: Mapping[str, Any], jobs: Mapping[int, str]
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
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
        reported = [psutil.Process(pid) for pid in json.loads(line.removeprefix(_PIDS))]
        yield driver, [*reported, *psutil.Process(driver.pid).children(recursive=True)]
    finally:
        driver.kill()
        driver.wait()
        driver.stdout.close()


def check_gone(processes: Collection[psutil.Process]) -> None:
    """Waits until processes are gone; kills those that are left when patience ends, and fails.

    Args:
        processes: made while they lived, as their numbers may be those of others later.
    """
    seconds = launching.PATIENCE_SECONDS
    deadline = time.monotonic() + seconds
    while (left := _find_alive(processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    names = [f"{each.pid} ({each.name()})" for each in left]
    for each in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    assert not left, f"after {seconds:g} s these processes are left: {', '.join(names)}"


def _find_alive(processes: Collection[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            # A zombie is one that nobody has waited for.
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
