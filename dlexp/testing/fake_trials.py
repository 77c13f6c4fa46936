"""Fake trials for tests of launchers: they start in milliseconds, without TensorFlow, and run steps of their config."""

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
_FOREVER_SECONDS = 600
_POLL_SECONDS = 0.01
_leaked: list[bytes] = []


def fake_job(trial: int, does: str, *, waits_for_verdict: bool = False, log_path: str = "") -> TrialJob:
    """Returns a job for `FakeTrials`.

    Args:
        trial: number of the trial.
        does: steps that run in order, separated by spaces, some with an argument without spaces: "report:3 sleep:0.5".
        waits_for_verdict: passed to the job.
        log_path: passed to the job.

    Steps:
        report:N - reports N epochs with the metrics `pid` (its process ID), `gpu` (of its worker), NaN and infinity.
        sleep:S - sleeps S seconds.
        await:FILE - sleeps until the file exists, which the test creates.
        hang - sleeps forever in Python.
        hold - sleeps forever while it holds the GIL, so that no other thread runs.
        save:FILE - sleeps until it is asked to stop and the file exists, then reports one more epoch.
        spawn - starts another process that sleeps forever, and reports an epoch with the `pid` of that process.
        allocate:N - fills N megabytes, and reports an epoch.
        leak:N - fills N megabytes, which are not freed after the trial.
        say:WORD - prints the word to stdout and stderr, from Python, from C, and from another process.
        raise, leave, exit:N, abort, die - ends by an exception, SystemExit, `os._exit`, `os.abort`, SIGKILL.
        diverge, fail - ends with the outcome DIVERGED or FAILED.
    """
    config = ExperimentConfig.of(tags={"does": does})
    return TrialJob(SweepTrial("fake", trial, f"{trial:032x}"), config, waits_for_verdict, log_path)


class FakeTrials:
    """The `Runner` of the jobs of `fake_job`."""

    def run(self, job: TrialJob, report: Report) -> TrialEnded:
        """Runs the steps; raises what they raise, although a `Runner` should not."""
        trial = job.trial.trial
        with catch_signals() as requests, requests.defer():
            steps = _Steps(trial, report, requests)
            try:
                for step in str(job.config.tracking.tags["does"]).split():
                    name, _, argument = step.partition(":")
                    outcome = steps.by_name[name](argument)
                    if outcome is not None:
                        return TrialEnded(trial, outcome, f"asked to {name}")
            except InterruptedRunError as err:
                return TrialEnded(trial, Outcome.STOPPED, str(err))
            except PrunedError as err:
                return TrialEnded(trial, Outcome.PRUNED, str(err))
        return TrialEnded(trial, Outcome.FINISHED)


class _Steps:
    """The steps of a trial; a step takes its argument, and returns an outcome if it ends the trial."""

    def __init__(self, trial: int, report: Report, requests: StopRequests) -> None:
        self._trial, self._report, self._requests = trial, report, requests
        self._epoch = 0
        self._held = b""
        self.by_name: dict[str, Callable[[str], Outcome | None]] = {
            "report": self._report_epochs,
            "sleep": lambda seconds: self._sleep(float(seconds)),
            "await": self._await,
            "hang": lambda _: self._sleep(_FOREVER_SECONDS),
            "hold": lambda _: ctypes.PyDLL(None).sleep(_FOREVER_SECONDS),
            "save": self._save,
            "spawn": self._spawn,
            "allocate": self._allocate,
            "leak": lambda megabytes: _leaked.append(_fill(megabytes)),
            "say": _say,
            "raise": lambda _: _raise(),
            "leave": lambda _: sys.exit("asked to leave"),
            "exit": lambda code: os._exit(int(code)),
            "abort": lambda _: os.abort(),
            "die": lambda _: os.kill(os.getpid(), signal.SIGKILL),
            "diverge": lambda _: Outcome.DIVERGED,
            "fail": lambda _: Outcome.FAILED,
        }

    def _report_epoch(self, pid: int) -> None:
        self._epoch += 1
        metrics = {
            "pid": pid,
            "gpu": float(os.environ.get("DLEXP_GPU", "nan")),
            "nan": math.nan,
            "inf": math.inf,
        }
        if not self._report(EpochEnded(self._trial, self._epoch, metrics)):
            raise PrunedError(f"pruned after epoch {self._epoch}")

    def _report_epochs(self, count: str) -> None:
        for _ in range(int(count or 1)):
            self._report_epoch(os.getpid())

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
        self._report_epoch(os.getpid())
        self._requests.check()

    def _spawn(self, _: str) -> None:
        self._report_epoch(subprocess.Popen(["sleep", str(_FOREVER_SECONDS)]).pid)

    def _allocate(self, megabytes: str) -> None:
        self._held = _fill(megabytes)
        self._report_epoch(os.getpid())


def _fill(megabytes: str) -> bytes:
    return os.urandom(1000) * (1000 * int(megabytes))


def _say(word: str) -> None:
    print(f"{word} stdout")
    print(f"{word} stderr", file=sys.stderr)
    ctypes.CDLL(None).puts(f"{word} C".encode())
    subprocess.run(["echo", f"{word} process"], check=True)


def _raise() -> None:
    raise ValueError("asked to raise")
