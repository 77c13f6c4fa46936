"""Trials without TensorFlow, which start in milliseconds and do what their config says: for tests of launchers."""

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import InterruptedRunError, PrunedError
from dlexp.machine.signals import StopRequests, catch_signals
from dlexp.runs.run import SweepTrial
from dlexp.sweeps.launchers.base import EpochEnded, Outcome, Report, TrialEnded, TrialJob

RUNNER = "dlexp.testing.fake_trials:FakeTrials"
_FOR_EVER_SECONDS = 600
_POLL_SECONDS = 0.01
_leaked: list[bytes] = []


def fake_job(trial: int, does: str, *, waits_for_verdict: bool = False, log_path: str = "") -> TrialJob:
    """A job for `FakeTrials`.

    Args:
        trial: its number.
        does: steps by spaces, one after the other, some with an argument, such as "report:3 sleep:0.5 raise"; an
            argument has no spaces.
        waits_for_verdict: of the job.
        log_path: of the job.

    Steps:
        report:N - tells of N epochs; their metrics have `pid` of the process, its worker's `gpu`, NaN and infinity.
        sleep:S - sleeps.
        await:FILE - sleeps until there is such a file, which the test makes.
        hang - sleeps for ever in Python.
        hold - sleeps for ever with Python's lock held, so that no other thread runs.
        save:FILE - sleeps until it is asked to stop and there is such a file, and reports one more epoch.
        spawn - starts another process that sleeps for ever, and tells of an epoch, with its `pid`.
        allocate:N - fills N megabytes, and tells of an epoch.
        leak:N - fills N megabytes, which are kept after the trial.
        say:WORD - prints it to stdout and stderr, by C's stdio, and by another process.
        raise, leave, exit:N, abort, die - an exception, SystemExit, `os._exit`, `os.abort`, SIGKILL.
        diverge, fail - ends so.
    """
    config = ExperimentConfig.of(tags={"does": does})
    return TrialJob(SweepTrial("fake", trial, f"{trial:032x}"), config, waits_for_verdict, log_path)


class FakeTrials:
    """The `Runner` of `fake_job`."""

    def run(self, job: TrialJob, report: Report) -> TrialEnded:
        """Does its steps; raises what they raise, though a `Runner` should not."""
        trial = job.trial.trial
        with catch_signals() as requests, requests.defer():
            steps = _Steps(trial, report, requests)
            try:
                for step in str(job.config.tracking.tags["does"]).split():
                    name, _, argument = step.partition(":")
                    outcome = steps.by_name[name](argument)
                    if outcome is not None:
                        return TrialEnded(trial, outcome, f"told to {name}")
            except InterruptedRunError as err:
                return TrialEnded(trial, Outcome.STOPPED, str(err))
            except PrunedError as err:
                return TrialEnded(trial, Outcome.PRUNED, str(err))
        return TrialEnded(trial, Outcome.FINISHED)


class _Steps:
    """What a trial can do; each takes its argument, and returns an outcome if the trial ends with it."""

    def __init__(self, trial: int, report: Report, requests: StopRequests) -> None:
        self._trial, self._report, self._requests = trial, report, requests
        self._epoch = 0
        self._held = b""
        self.by_name: dict[str, Callable[[str], Outcome | None]] = {
            "report": self._tell_epochs,
            "sleep": lambda seconds: self._sleep(float(seconds)),
            "await": self._await,
            "hang": lambda _: self._sleep(_FOR_EVER_SECONDS),
            "hold": lambda _: ctypes.PyDLL(None).sleep(_FOR_EVER_SECONDS),
            "save": self._save,
            "spawn": self._spawn,
            "allocate": self._allocate,
            "leak": lambda megabytes: _leaked.append(_fill(megabytes)),
            "say": _say,
            "raise": lambda _: _raise(),
            "leave": lambda _: sys.exit("told to leave"),
            "exit": lambda code: os._exit(int(code)),
            "abort": lambda _: os.abort(),
            "die": lambda _: os.kill(os.getpid(), signal.SIGKILL),
            "diverge": lambda _: Outcome.DIVERGED,
            "fail": lambda _: Outcome.FAILED,
        }

    def _tell(self, pid: int) -> None:
        self._epoch += 1
        metrics = {
            "pid": pid,
            "gpu": float(os.environ.get("DLEXP_GPU", "nan")),
            "nan": math.nan,
            "inf": math.inf,
        }
        if not self._report(EpochEnded(self._trial, self._epoch, metrics)):
            raise PrunedError(f"given up after epoch {self._epoch}")

    def _tell_epochs(self, count: str) -> None:
        for _ in range(int(count or 1)):
            self._tell(os.getpid())

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self._requests.allow():
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 0.1))

    def _await(self, path: str) -> None:
        while not os.path.exists(path):
            self._sleep(_POLL_SECONDS)

    def _save(self, path: str) -> None:
        while self._requests.signal is None or not os.path.exists(path):
            time.sleep(_POLL_SECONDS)
        self._tell(os.getpid())
        self._requests.check()

    def _spawn(self, _: str) -> None:
        self._tell(subprocess.Popen(["sleep", str(_FOR_EVER_SECONDS)]).pid)

    def _allocate(self, megabytes: str) -> None:
        self._held = _fill(megabytes)
        self._tell(os.getpid())


def _fill(megabytes: str) -> bytes:
    return os.urandom(1000) * (1000 * int(megabytes))


def _say(word: str) -> None:
    print(f"{word} stdout")
    print(f"{word} stderr", file=sys.stderr)
    ctypes.CDLL(None).puts(f"{word} C".encode())
    subprocess.run(["echo", f"{word} process"], check=True)


def _raise() -> None:
    raise ValueError("told to raise")
