"""The conformance suite of launchers."""

import os
import pathlib
import signal
import time
from typing import Any

import psutil

from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded
from dlexp.testing import launching
from dlexp.testing.driver_process import check_gone, start_driver
from dlexp.testing.fake_trials import fake_job
from dlexp.testing.launching import (
    LauncherMaker,
    check_end,
    check_metrics,
    ends_of,
    run_trial,
    wait_for_ends,
    wait_for_epochs,
    wait_until,
)

_TRIALS = 7


class LauncherContract:
    """Tests every promise of `dlexp.sweeps.launchers.base.Launcher`.

    Use it as the base of a class whose name begins with Test, and which has the fixture `maker`.

    Example:
        >>> class TestMyLauncher(LauncherContract):
        ...     @pytest.fixture
        ...     def maker(self):
        ...         return LauncherMaker("my_package:MyLauncher", {"queue": "short"})
    """

    def test_each_trial_ends_once_after_all_of_its_epochs(self, maker: LauncherMaker) -> None:
        """Seven trials in two slots, with epochs in order and unchanged metrics."""
        with maker.open() as launcher:
            waiting = list(range(_TRIALS))
            events: list[Event] = []
            while waiting or len(ends_of(events)) < _TRIALS:
                while waiting and _TRIALS - len(waiting) - len(ends_of(events)) < launcher.slots:
                    launcher.start(fake_job(waiting.pop(), "report:3"))
                events += wait_until(launcher, bool)
            events += launcher.wait(0.25)
        for trial in range(_TRIALS):
            reported = [(type(event), getattr(event, "epoch", 0)) for event in events if event.trial == trial]
            expected = [(EpochEnded, 1), (EpochEnded, 2), (EpochEnded, 3), (TrialEnded, 0)]
            assert reported == expected, f"trial {trial} reported {reported}, not {expected}"
        check_metrics(events)

    def test_as_many_trials_as_it_has_slots_run_at_once(self, maker: LauncherMaker) -> None:
        """Every trial waits for its verdict until all of them wait; `start` does not wait for a trial."""
        with maker.open() as launcher:
            for trial in range(launcher.slots):
                launcher.start(fake_job(trial, "report", waits_for_verdict=True))
            wait_for_epochs(launcher, launcher.slots)
            for trial in range(launcher.slots):
                launcher.answer(trial, goes_on=True)
            ended = wait_for_ends(launcher, *range(launcher.slots))
        for end in ended.values():
            check_end(end, Outcome.FINISHED)

    def test_a_wait_lasts_until_something_happens(self, maker: LauncherMaker) -> None:
        """One call is enough, although the trial reports nothing for a while."""
        with maker.open() as launcher:
            launcher.start(fake_job(0, "report sleep:0.5 report hang"))
            wait_for_epochs(launcher, 1)
            events = launcher.wait(launching.PATIENCE_SECONDS)
        assert events, "wait returned nothing before its timeout"

    def test_a_wait_in_which_nothing_happens_ends_with_nothing(self, maker: LauncherMaker) -> None:
        """With a running trial, and without one."""
        with maker.open() as launcher:
            # A wait that ignores its timeout would return the second epoch.
            launcher.start(fake_job(0, f"report sleep:{launching.PATIENCE_SECONDS} report hang"))
            wait_for_epochs(launcher, 1)
            events = launcher.wait(0.25)
            assert not events, f"wait did not end at its timeout, but returned {events}"
            launcher.kill(0, "no longer needed")
            wait_for_ends(launcher, 0)
            events = launcher.wait(0.25)
            assert not events, f"no trial is running, but wait returned {events}"

    def test_the_outcome_that_the_runner_returns_is_passed_on(self, maker: LauncherMaker) -> None:
        """Outcome and reason; the next trial is not affected."""
        expected = {"diverge": Outcome.DIVERGED, "fail": Outcome.FAILED}
        with maker.open() as launcher:
            for trial, (does, outcome) in enumerate(expected.items()):
                check_end(run_trial(launcher, trial, does), outcome, f"asked to {does}")
            check_end(run_trial(launcher, 9, ""), Outcome.FINISHED)

    def test_a_verdict_reaches_the_trial_that_waits_for_it(self, maker: LauncherMaker) -> None:
        """One trial is pruned after its second epoch, the other one continues to the end."""
        with maker.open() as launcher:
            for trial in (0, 1):
                launcher.start(fake_job(trial, "report:3", waits_for_verdict=True))
            events: list[Event] = []
            while len(ends_of(events)) < 2:
                arrived = wait_until(launcher, bool)
                for event in arrived:
                    if isinstance(event, EpochEnded):
                        launcher.answer(event.trial, goes_on=event.trial == 0 or event.epoch < 2)
                events += arrived
        check_end(ends_of(events)[0], Outcome.FINISHED)
        check_end(ends_of(events)[1], Outcome.PRUNED, "pruned after epoch 2")

    def test_a_trial_that_waits_for_no_verdict_continues_without_one(
        self, maker: LauncherMaker, tmp_path: pathlib.Path
    ) -> None:
        """The unexpected verdict does not reach the next trial either."""
        with maker.open(workers=1) as launcher:
            for trial in (0, 1):
                answered = tmp_path / f"answered-{trial}"
                launcher.start(fake_job(trial, f"report await:{answered} report"))
                wait_for_epochs(launcher, 1)
                launcher.answer(trial, goes_on=False)
                answered.touch()
                check_end(wait_for_ends(launcher, trial)[trial], Outcome.FINISHED)

    def test_an_exception_of_the_runner_fails_the_trial(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """Its name and message are the reason, and the traceback is in the log."""
        reasons = {"raise": "ValueError: asked to raise", "leave": "SystemExit: asked to leave"}
        log = tmp_path / "trial.log"
        with maker.open() as launcher:
            for trial, (does, reason) in enumerate(reasons.items()):
                ended = run_trial(launcher, trial, does, log_path=str(log))
                check_end(ended, Outcome.FAILED, reason)
                assert reason.partition(":")[0] in log.read_text(), f"the log lacks the traceback of a {reason}"

    def test_a_runner_that_cannot_be_made_fails_the_trial(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """For example because a plug-in is not installed on the machine that runs the trial."""
        log = tmp_path / "trial.log"
        with maker.open(runner="no_such_module:Runner") as launcher:
            ended = run_trial(launcher, 0, "", log_path=str(log))
        check_end(ended, Outcome.FAILED, "ModuleNotFoundError: No module named 'no_such_module'")
        assert "Traceback" in log.read_text(), "the log lacks the traceback"

    def test_a_process_that_dies_is_reported_with_its_cause(self, maker: LauncherMaker) -> None:
        """The reason names the signal or the exit code, even if the process dies between two reports."""
        ends = {"report die": "SIGKILL", "report abort": "SIGABRT", "exit:7": "7", "report:50 die": "SIGKILL"}
        with maker.open() as launcher:
            for trial, (does, word) in enumerate(ends.items()):
                ended = run_trial(launcher, trial, does)
                check_end(ended, Outcome.DIED)
                assert word in ended.reason, f"the reason for {does!r} does not name {word}: {ended.reason}"

    def test_a_process_that_dies_does_no_harm_to_the_others(self, maker: LauncherMaker) -> None:
        """Other trials continue, even if the process is killed from outside."""
        with maker.open() as launcher:
            launcher.start(fake_job(0, "report", waits_for_verdict=True))
            launcher.start(fake_job(1, "report hang"))
            pids = wait_for_epochs(launcher, 2)
            os.kill(pids[1], signal.SIGKILL)
            check_end(wait_for_ends(launcher, 1)[1], Outcome.DIED)
            check_end(run_trial(launcher, 2, "report"), Outcome.FINISHED)
            launcher.answer(0, goes_on=True)
            check_end(wait_for_ends(launcher, 0)[0], Outcome.FINISHED)

    def test_a_trial_that_is_killed_has_failed_with_that_reason(self, maker: LauncherMaker) -> None:
        """It works at any step, and ends the processes that the trial has started."""
        with maker.open() as launcher:
            for trial, does in enumerate(("report hang", "report hold", "spawn hang")):
                launcher.start(fake_job(trial, does))
                process = psutil.Process(wait_for_epochs(launcher, 1)[trial])
                launcher.kill(trial, "too slow")
                check_end(wait_for_ends(launcher, trial)[trial], Outcome.FAILED, "too slow")
                check_gone([process])

    def test_a_kill_that_comes_too_late_spares_the_next_trial(self, maker: LauncherMaker) -> None:
        """The trial has ended, but `wait` has not returned it yet: it is FINISHED, and the next trial finishes too."""
        with maker.open(workers=1) as launcher:
            trial = _kill_too_late(launcher)
            check_end(run_trial(launcher, trial + 1, "report"), Outcome.FINISHED)

    def test_a_trial_that_is_stopped_may_save_first(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """It saves once, even if `stop` is called several times."""
        may_save = tmp_path / "may-save"
        with maker.open() as launcher:
            launcher.start(fake_job(0, f"report save:{may_save}"))
            wait_for_epochs(launcher, 1)
            events: list[Event] = []
            for _ in range(3):
                launcher.stop(0)
                events += launcher.wait(0.2)
            may_save.touch()
            events += wait_until(launcher, lambda new: ends_of([*events, *new]))
        reported = [type(event) for event in events]
        assert reported == [EpochEnded, TrialEnded], f"it ended before it had saved: {events}"
        check_end(ends_of(events)[0], Outcome.STOPPED)

    def test_a_trial_can_be_stopped_as_soon_as_it_is_started(self, maker: LauncherMaker) -> None:
        """Before its process has begun."""
        with maker.open() as launcher:
            launcher.start(fake_job(0, "hang"))
            launcher.stop(0)
            check_end(wait_for_ends(launcher, 0)[0], Outcome.STOPPED)

    def test_requests_to_a_trial_that_has_ended_are_ignored(self, maker: LauncherMaker) -> None:
        """The trial may have ended just before the call."""
        with maker.open() as launcher:
            check_end(run_trial(launcher, 0, "report"), Outcome.FINISHED)
            launcher.answer(0, goes_on=False)
            launcher.stop(0)
            launcher.kill(0, "too slow")
            memory = launcher.memory_bytes(0)
            assert memory is None, f"memory_bytes returned {memory} for a trial that has ended"
            check_end(run_trial(launcher, 1, "report"), Outcome.FINISHED)

    def test_the_memory_of_a_trial_is_known_or_none(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """If it is known, it grows when the trial allocates memory; a launcher may measure it a moment later."""
        measured = tmp_path / "measured"
        with maker.open() as launcher:
            launcher.start(fake_job(0, f"report await:{measured} allocate:300 hang"))
            wait_for_epochs(launcher, 1)
            before = launcher.memory_bytes(0)
            measured.touch()
            wait_for_epochs(launcher, 1)
            if before is None:
                return
            deadline = time.monotonic() + launching.PATIENCE_SECONDS
            while (after := launcher.memory_bytes(0) or 0) < before + 250e6 and time.monotonic() < deadline:
                launcher.wait(0.1)
        assert 250e6 < after - before < 400e6, f"300 MB were added, but {before} bytes became {after} bytes"

    def test_what_a_trial_prints_is_added_to_its_log(
        self, maker: LauncherMaker, tmp_path: pathlib.Path, capfd: Any
    ) -> None:
        """All output, from Python, C and other processes, is only in the log, however the trial ends."""
        logs = [tmp_path / f"{trial}.log" for trial in range(2)]
        with maker.open() as launcher:
            capfd.readouterr()
            for trial, does in enumerate(("say:a", "say:b", "say:c die")):
                run_trial(launcher, trial, does, log_path=str(logs[trial % 2]))
            run_trial(launcher, 3, "say:d")
            printed = "".join(capfd.readouterr())
        sources = ("stdout", "stderr", "C", "process")
        for log, words in zip(logs, ("ac", "b"), strict=True):
            # C's own buffer is lost with a process that is killed.
            expected = {f"{word} {source}" for word in words for source in sources} - {"c C"}
            found = sorted(set(log.read_text().splitlines()) - {"c C"})
            assert found == sorted(expected), f"a log contains {found}, not {sorted(expected)}"
        assert not any(source in printed for source in sources), f"trials printed {printed[:200]!r}"

    def test_close_ends_all_processes(self, maker: LauncherMaker) -> None:
        """Processes of running trials, their child processes, and idle workers; a second call is harmless."""
        with maker.open(workers=3) as launcher:
            for trial, does in enumerate(("report hang", "spawn hang", "report")):
                launcher.start(fake_job(trial, does))
            events = wait_until(launcher, lambda events: len(events) == 4)
            pids = [int(event.metrics["pid"]) for event in events if isinstance(event, EpochEnded)]
            processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
            launcher.close()
        check_gone(processes)

    def test_nothing_outlives_a_process_that_is_killed(self, maker: LauncherMaker) -> None:
        """All processes of the launcher end, whatever their trials are doing.

        The contract says within five seconds; the suite waits longer, so that a busy machine does not fail it.
        """
        jobs = {0: "report hang", 1: "report hold", 2: "spawn hang"}
        with start_driver(maker.name, maker.arguments(workers=3), jobs) as (driver, started):
            driver.kill()
            driver.wait()
            check_gone(started)


def _kill_too_late(launcher: Launcher) -> int:
    """Kills trials until one had already ended; asserts that it is FINISHED, and returns its number.

    Only `wait` shows that a trial has ended, but here it must not be called before the kill. So every attempt gives the
    trial more time to end.
    """
    trial, pause = 0, 0.1
    while True:
        launcher.start(fake_job(trial, "report"))
        wait_for_epochs(launcher, 1)
        time.sleep(pause)
        launcher.kill(trial, "too slow")
        ended = wait_for_ends(launcher, trial)[trial]
        pause *= 4
        if ended.outcome is Outcome.FINISHED or pause > launching.PATIENCE_SECONDS:
            check_end(ended, Outcome.FINISHED)
            return trial
        check_end(ended, Outcome.FAILED, "too slow")
        trial += 1
