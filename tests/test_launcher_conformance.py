"""Launchers of this machine keep the contract."""

import pathlib
import subprocess
import sys

import pytest

from dlexp.sweeps.launchers.base import EpochEnded
from dlexp.testing import LauncherContract, LauncherMaker
from dlexp.testing.fake_trials import fake_job
from dlexp.testing.launching import ends_of, wait_until
from tests.kept_workers import KeptWorkersTests

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


def test_workers_that_live_at_the_same_time_have_different_slots() -> None:
    slots: dict[int, float] = {}
    with LauncherMaker(LOCAL, {"trials_per_worker": 1}).open() as launcher:
        for first in (0, 2, 4):
            for trial in (first, first + 1):
                launcher.start(fake_job(trial, "report sleep:0.2"))
            for event in wait_until(launcher, lambda events: len(ends_of(events)) == 2):
                if isinstance(event, EpochEnded):
                    slots[event.trial] = event.metrics["slot"]
    assert [{slots[first], slots[first + 1]} for first in (0, 2, 4)] == [{0, 1}] * 3


def test_a_worker_does_not_run_the_script_of_its_driver_again(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(UNGUARDED_SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("once\nFINISHED\n", "")
