"""Launchers of this machine keep the contract; and the suite that says so finds those that do not."""

import math
import os
import pathlib
import signal
import subprocess
import sys

import psutil
import pytest

from dlexp.sweeps.launchers.base import EpochEnded, Outcome, TrialEnded
from dlexp.sweeps.launchers.local import LocalLauncher
from dlexp.testing import LauncherContract, LauncherMaker, launching
from dlexp.testing.fake_trials import fake_job
from dlexp.testing.launching import ends_of, wait_for_ends, wait_for_epochs, wait_until
from tests.support.broken_launchers import BREAKS
from tests.support.kept_workers import KeptWorkersTests
from tests.support.suites import find_test, names_of, run_suite_test

LOCAL = "dlexp.sweeps.launchers.local:LocalLauncher"

# No `if __name__ == "__main__"`: a process that imported this again would start processes of its own.
UNGUARDED_SCRIPT = """
from dlexp.sweeps.launchers.local import LocalLauncher
from dlexp.testing.fake_trials import RUNNER, fake_job

print("once")
launcher = LocalLauncher(RUNNER, workers=1, trials_per_worker=1)
launcher.start(fake_job(0, ""))
print(launcher.wait(30)[0].outcome)
launcher.close()
"""


class TestKeptWorkers(LauncherContract, KeptWorkersTests):
    @pytest.fixture
    def maker(self) -> LauncherMaker:
        return LauncherMaker(LOCAL, {"trials_per_worker": 50})


class TestFreshProcesses(LauncherContract):
    @pytest.fixture
    def maker(self) -> LauncherMaker:
        return LauncherMaker(LOCAL, {"trials_per_worker": 1})


@pytest.mark.parametrize("breaks", BREAKS)
def test_a_broken_promise_fails_its_own_test(
    breaks: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "PATIENCE_SECONDS", 3.0)
    maker = LauncherMaker("tests.support.broken_launchers:make_broken", {"breaks": breaks})
    with pytest.raises(AssertionError, match=BREAKS[breaks][1]):
        run_suite_test(LauncherContract, find_test(LauncherContract, breaks), maker, request)


def test_every_test_of_the_suite_has_been_seen_to_fail() -> None:
    assert set(names_of(LauncherContract)) == {find_test(LauncherContract, part) for part in BREAKS}


def test_workers_that_live_at_the_same_time_use_different_gpus(tmp_path: pathlib.Path) -> None:
    gpus: dict[int, float] = {}
    with LauncherMaker(LOCAL, {"trials_per_worker": 1}).open() as launcher:
        for first in (0, 2, 4):
            for trial in (first, first + 1):
                launcher.start(fake_job(trial, f"report await:{tmp_path / str(first)}"))
            for event in wait_until(launcher, lambda events: len(events) == 2):
                assert isinstance(event, EpochEnded)
                gpus[event.trial] = event.metrics["gpu"]
            (tmp_path / str(first)).touch()
            wait_for_ends(launcher, first, first + 1)
    assert [{gpus[first], gpus[first + 1]} for first in (0, 2, 4)] == [{0, 1}] * 3


def test_a_worker_that_does_not_share_gpus_is_given_no_number() -> None:
    with LauncherMaker(LOCAL, {"trials_per_worker": 1, "one_gpu_each": False}).open() as launcher:
        launcher.start(fake_job(0, "report"))
        epoch = wait_until(launcher, lambda events: bool(ends_of(events)))[0]
    assert isinstance(epoch, EpochEnded)
    assert math.isnan(epoch.metrics["gpu"])


def test_a_worker_can_be_killed_when_the_server_that_it_was_forked_from_has_died() -> None:
    with LauncherMaker(LOCAL, {"trials_per_worker": 50}).open() as launcher:
        launcher.start(fake_job(0, "report hang"))
        server = psutil.Process(wait_for_epochs(launcher, 1)[0]).parent()
        assert server is not None
        server.kill()
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)  # it is left to multiprocessing to wait for
        launcher.start(fake_job(1, "report"))  # by a new server
        assert wait_for_ends(launcher, 1)[1].outcome is Outcome.FINISHED
        launcher.kill(0, "too slow")
        assert wait_for_ends(launcher, 0)[0] == TrialEnded(0, Outcome.FAILED, "too slow")


def test_a_process_that_has_taken_the_number_of_a_dead_worker_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    with LauncherMaker(LOCAL, {"trials_per_worker": 50}).open() as launcher:
        launcher.start(fake_job(0, "report"))
        pid = wait_for_epochs(launcher, 1)[0]
        assert wait_for_ends(launcher, 0)[0].outcome is Outcome.FINISHED
        assert isinstance(launcher, LocalLauncher)
        (worker,) = launcher._workers
        os.kill(pid, signal.SIGKILL)
        worker.process.join()
        monkeypatch.setattr(os, "killpg", lambda group, number: killed.append(group))
        launcher.close()
    assert killed == []


def test_a_worker_does_not_run_the_script_of_its_driver_again(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(UNGUARDED_SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("once\nFINISHED\n", "")
