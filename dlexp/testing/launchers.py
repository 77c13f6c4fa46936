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
    """Every promise of `dlexp.sweeps.launchers.base.Launcher`, one test each.

    A subclass whose name begins with Test gives the fixture `maker`.

    Example:
        >>> class TestMyLauncher(LauncherContract):
        ...     @pytest.fixture
        ...     def maker(self):
        ...         return LauncherMaker("my_package:MyLauncher", {"queue": "short"})
    """

    def test_each_trial_ends_once_after_all_of_its_epochs(self, maker: LauncherMaker) -> None:
        """Seven trials through two slots, with epochs in their order, and metrics as they were."""
        with maker.open() as launcher:
            waiting = list(range(_TRIALS))
            events: list[Event] = []
            while waiting or len(ends_of(events)) < _TRIALS:
                while waiting and _TRIALS - len(waiting) - len(ends_of(events)) < launcher.slots:
                    launcher.start(fake_job(waiting.pop(), "report:3"))
                events += wait_until(launcher, bool)
            events += launcher.wait(0.25)
        for trial in range(_TRIALS):
            told = [(type(each), getattr(each, "epoch", 0)) for each in events if each.trial == trial]
            expected = [(EpochEnded, 1), (EpochEnded, 2), (EpochEnded, 3), (TrialEnded, 0)]
            assert told == expected, f"trial {trial} told {told}, not {expected}"
        check_metrics(events)

    def test_as_many_trials_as_it_has_slots_run_at_once(self, maker: LauncherMaker) -> None:
        """Each waits for its verdict until all of them do; and a start does not wait for a trial."""
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
        """One call is enough, though the trial reports nothing for a while."""
        with maker.open() as launcher:
            launcher.start(fake_job(0, "report sleep:0.5 report hang"))
            wait_for_epochs(launcher, 1)
            events = launcher.wait(launching.PATIENCE_SECONDS)
        assert events, "wait has returned nothing, before its time was over"

    def test_a_wait_in_which_nothing_happens_ends_with_nothing(self, maker: LauncherMaker) -> None:
        """With a trial that runs, and without."""
        with maker.open() as launcher:
            # A wait that is not bounded by its timeout returns the second epoch.
            launcher.start(fake_job(0, f"report sleep:{launching.PATIENCE_SECONDS} report hang"))
            wait_for_epochs(launcher, 1)
            events = launcher.wait(0.25)
            assert not events, f"wait has not ended after its timeout, but with {events}"
            launcher.kill(0, "no longer needed")
            wait_for_ends(launcher, 0)
            events = launcher.wait(0.25)
            assert not events, f"nothing runs, and wait returns {events}"

    def test_what_its_runner_says_of_an_end_is_passed_on(self, maker: LauncherMaker) -> None:
        """Outcome and reason; the next trial is none the worse for it."""
        expected = {"diverge": Outcome.DIVERGED, "fail": Outcome.FAILED}
        with maker.open() as launcher:
            for trial, (does, outcome) in enumerate(expected.items()):
                check_end(run_trial(launcher, trial, does), outcome, f"told to {does}")
            check_end(run_trial(launcher, 9, ""), Outcome.FINISHED)

    def test_a_verdict_reaches_the_trial_that_waits_for_it(self, maker: LauncherMaker) -> None:
        """One is given up after its second epoch, one goes on to the end."""
        with maker.open() as launcher:
            for trial in (0, 1):
                launcher.start(fake_job(trial, "report:3", waits_for_verdict=True))
            events: list[Event] = []
            while len(ends_of(events)) < 2:
                arrived = wait_until(launcher, bool)
                for each in arrived:
                    if isinstance(each, EpochEnded):
                        launcher.answer(each.trial, goes_on=each.trial == 0 or each.epoch < 2)
                events += arrived
        check_end(ends_of(events)[0], Outcome.FINISHED)
        check_end(ends_of(events)[1], Outcome.PRUNED, "given up after epoch 2")

    def test_a_trial_that_waits_for_no_verdict_goes_on_without(
        self, maker: LauncherMaker, tmp_path: pathlib.Path
    ) -> None:
        """And the next trial does not take for its own what was said nevertheless."""
        with maker.open(workers=1) as launcher:
            for trial in (0, 1):
                answered = tmp_path / f"answered-{trial}"
                launcher.start(fake_job(trial, f"report await:{answered} report"))
                wait_for_epochs(launcher, 1)
                launcher.answer(trial, goes_on=False)
                answered.touch()
                check_end(wait_for_ends(launcher, trial)[trial], Outcome.FINISHED)

    def test_an_exception_of_the_runner_fails_the_trial(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """With its name and message for a reason, and the traceback in the log."""
        reasons = {"raise": "ValueError: told to raise", "leave": "SystemExit: told to leave"}
        log = tmp_path / "trial.log"
        with maker.open() as launcher:
            for trial, (does, reason) in enumerate(reasons.items()):
                ended = run_trial(launcher, trial, does, log_path=str(log))
                check_end(ended, Outcome.FAILED, reason)
                assert reason.partition(":")[0] in log.read_text(), f"the log lacks the traceback of a {reason}"

    def test_a_runner_that_cannot_be_made_fails_the_trial(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """As where a plug-in is not installed on the machine that the trial runs on."""
        log = tmp_path / "trial.log"
        with maker.open(runner="no_such_module:Runner") as launcher:
            ended = run_trial(launcher, 0, "", log_path=str(log))
        check_end(ended, Outcome.FAILED, "ModuleNotFoundError: No module named 'no_such_module'")
        assert "Traceback" in log.read_text(), "the log lacks the traceback"

    def test_a_process_that_dies_is_told_with_what_ended_it(self, maker: LauncherMaker) -> None:
        """A signal by its name, or the exit code; also where it dies between two words of its own."""
        ends = {"report die": "SIGKILL", "report abort": "SIGABRT", "exit:7": "7", "report:50 die": "SIGKILL"}
        with maker.open() as launcher:
            for trial, (does, word) in enumerate(ends.items()):
                ended = run_trial(launcher, trial, does)
                check_end(ended, Outcome.DIED)
                assert word in ended.reason, f"the reason for {does!r} does not name {word}: {ended.reason}"

    def test_a_process_that_dies_does_no_harm_to_the_others(self, maker: LauncherMaker) -> None:
        """Neither where it is killed from outside."""
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
        """Whatever it is doing, with the processes that it has started."""
        with maker.open() as launcher:
            for trial, does in enumerate(("report hang", "report hold", "spawn hang")):
                launcher.start(fake_job(trial, does))
                process = psutil.Process(wait_for_epochs(launcher, 1)[trial])
                launcher.kill(trial, "too slow")
                check_end(wait_for_ends(launcher, trial)[trial], Outcome.FAILED, "too slow")
                check_gone([process])

    def test_a_kill_that_comes_too_late_spares_the_next_trial(self, maker: LauncherMaker) -> None:
        """The trial had ended, unnoticed yet: it has finished, and so does the one that comes after it."""
        with maker.open(workers=1) as launcher:
            trial = _kill_too_late(launcher)
            check_end(run_trial(launcher, trial + 1, "report"), Outcome.FINISHED)

    def test_a_trial_that_is_stopped_may_save_first(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """However often it is asked to."""
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
        told = [type(each) for each in events]
        assert told == [EpochEnded, TrialEnded], f"it has ended before it has saved: {events}"
        check_end(ends_of(events)[0], Outcome.STOPPED)

    def test_a_trial_can_be_stopped_as_soon_as_it_is_started(self, maker: LauncherMaker) -> None:
        """Before its process has begun."""
        with maker.open() as launcher:
            launcher.start(fake_job(0, "hang"))
            launcher.stop(0)
            check_end(wait_for_ends(launcher, 0)[0], Outcome.STOPPED)

    def test_what_is_asked_of_a_trial_that_has_ended_is_passed_over(self, maker: LauncherMaker) -> None:
        """It may have ended just then."""
        with maker.open() as launcher:
            check_end(run_trial(launcher, 0, "report"), Outcome.FINISHED)
            launcher.answer(0, goes_on=False)
            launcher.stop(0)
            launcher.kill(0, "too slow")
            memory = launcher.memory_bytes(0)
            assert memory is None, f"a trial that has ended is said to hold {memory} bytes"
            check_end(run_trial(launcher, 1, "report"), Outcome.FINISHED)

    def test_the_memory_of_a_trial_is_known_or_none(self, maker: LauncherMaker, tmp_path: pathlib.Path) -> None:
        """Where it is known, it grows with what the trial allocates; a launcher may look a moment later."""
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
        assert 250e6 < after - before < 400e6, f"300 MB more were told as {before} and then {after} bytes"

    def test_what_a_trial_prints_is_added_to_its_log(
        self, maker: LauncherMaker, tmp_path: pathlib.Path, capfd: Any
    ) -> None:
        """From Python, from C and from other processes; to the log alone, and all of it, however the trial ends."""
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
            assert found == sorted(expected), f"a log has {found}, not {sorted(expected)}"
        assert not any(source in printed for source in sources), f"trials printed {printed[:200]!r}"

    def test_close_ends_all_processes(self, maker: LauncherMaker) -> None:
        """Those of trials that run, with what they have started, and those that wait for more; twice does no harm."""
        with maker.open(workers=3) as launcher:
            for trial, does in enumerate(("report hang", "spawn hang", "report")):
                launcher.start(fake_job(trial, does))
            events = wait_until(launcher, lambda events: len(events) == 4)
            pids = [int(each.metrics["pid"]) for each in events if isinstance(each, EpochEnded)]
            processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
            launcher.close()
        check_gone(processes)

    def test_nothing_outlives_a_process_that_is_killed(self, maker: LauncherMaker) -> None:
        """Whatever trials are doing, the processes are gone that the launcher has brought.

        The promise is five seconds; the suite is more patient, as a busy machine must not fail it.
        """
        jobs = {0: "report hang", 1: "report hold", 2: "spawn hang"}
        with start_driver(maker.name, maker.arguments(workers=3), jobs) as (driver, brought):
            driver.kill()
            driver.wait()
            check_gone(brought)


def _kill_too_late(launcher: Launcher) -> int:
    """Kills trials until one had ended before, unnoticed yet; asserts that it has finished, and returns its number.

    Nothing but `wait`, which would notice it, says that a trial has ended: it is given more time at each attempt.
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
