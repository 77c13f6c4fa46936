"""Tests of a launcher that keeps its workers for several trials; the contract does not require that."""

import pathlib

import psutil

from dlexp.sweeps.launchers.base import EpochEnded, Launcher, Outcome
from dlexp.testing import LauncherMaker
from dlexp.testing.fake_trials import fake_job
from dlexp.testing.launching import ends_of, run_trial, wait_for_ends, wait_for_epochs, wait_until


class KeptWorkersTests:
    """A subclass gives the fixture `maker`, of a launcher that takes `trials_per_worker`."""

    def test_a_worker_runs_so_many_trials_and_no_more(self, maker: LauncherMaker) -> None:
        with maker.open(workers=1, trials_per_worker=2) as launcher:
            first, second, third, fourth = (pid_of(launcher, trial) for trial in range(4))
        assert first == second
        assert third == fourth != first

    def test_a_worker_is_replaced_after_a_failure(self, maker: LauncherMaker) -> None:
        pids = []
        with maker.open(workers=1, trials_per_worker=50) as launcher:
            for trial, end in enumerate(("", "fail", "diverge", "raise", "abort", "")):
                pids.append(pid_of(launcher, trial, end))
        assert pids[0] == pids[1]
        assert len(set(pids)) == 5

    def test_a_worker_is_kept_after_a_trial_that_was_given_up(self, maker: LauncherMaker) -> None:
        with maker.open(workers=1, trials_per_worker=50) as launcher:
            launcher.start(fake_job(0, "report", waits_for_verdict=True))
            pids = wait_for_epochs(launcher, 1)
            launcher.answer(0, goes_on=False)
            assert wait_for_ends(launcher, 0)[0].outcome is Outcome.PRUNED
            assert pid_of(launcher, 1) == pids[0]

    def test_a_worker_that_has_grown_is_replaced(self, maker: LauncherMaker) -> None:
        with maker.open(workers=1, trials_per_worker=50) as launcher:
            pids = [pid_of(launcher, trial, end) for trial, end in enumerate(("", "", "leak:300", ""))]
        assert pids[0] == pids[1] == pids[2] != pids[3]

    def test_a_worker_that_dies_between_two_trials_costs_neither(self, maker: LauncherMaker) -> None:
        with maker.open(workers=1, trials_per_worker=50) as launcher:
            process = psutil.Process(pid_of(launcher, 0))
            process.kill()
            process.wait()
            assert run_trial(launcher, 1, "report").outcome is Outcome.FINISHED

    def test_no_process_is_left_waiting_to_be_waited_for(self, maker: LauncherMaker) -> None:
        with maker.open(trials_per_worker=1) as launcher:
            for trial, does in enumerate(("", "report", "fail", "abort")):
                run_trial(launcher, trial, does)
            children = psutil.Process().children(recursive=True)
            zombies = [item.pid for item in children if item.status() == psutil.STATUS_ZOMBIE]
        assert zombies == []

    def test_open_files_do_not_become_more(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        counts = []
        with maker.open(workers=1, trials_per_worker=1) as launcher:
            for trial in range(6):
                run_trial(launcher, trial, ("report", "abort")[trial % 2], log_path=str(tmp_path / "log"))
                counts.append(psutil.Process().num_fds())
        assert max(counts[2:]) <= counts[1]


def pid_of(launcher: Launcher, trial: int, end: str = "") -> int:
    """Runs a trial; the process that it ran in."""
    launcher.start(fake_job(trial, f"report {end}"))
    events = wait_until(launcher, ends_of)
    assert isinstance(events[0], EpochEnded)
    return int(events[0].metrics["pid"])
