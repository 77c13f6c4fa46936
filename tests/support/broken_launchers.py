"""Launchers that break one promise each, which the conformance suite must find."""

import pathlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dlexp.sweeps.launchers.base import Event, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.local import LocalLauncher


def make_broken(runner: str, *, workers: int, breaks: str) -> LocalLauncher:
    """A local launcher that breaks the promise of that name, one of `BREAKS`."""
    launcher_class = type(breaks, (LocalLauncher,), dict(BREAKS[breaks][0]))
    launcher: LocalLauncher = launcher_class(runner, workers=workers, trials_per_worker=50)
    return launcher


def changing_ends(change: Callable[[TrialEnded], Sequence[Event]]) -> dict[str, Any]:
    def wait(self: LocalLauncher, timeout_s: float) -> Sequence[Event]:
        events = LocalLauncher.wait(self, timeout_s)
        return [new for event in events for new in (change(event) if isinstance(event, TrialEnded) else [event])]

    return {"wait": wait}


def start_one_at_a_time(self: LocalLauncher, job: TrialJob) -> None:
    if all(worker.job is None for worker in self._workers):
        LocalLauncher.start(self, job)


def start_with_a_new_log(self: LocalLauncher, job: TrialJob) -> None:
    if job.log_path:
        pathlib.Path(job.log_path).write_text("")
    LocalLauncher.start(self, job)


def start_with_a_helper(self: LocalLauncher, job: TrialJob) -> None:
    subprocess.Popen(["sleep", "60"], start_new_session=True)
    LocalLauncher.start(self, job)


def answer_those_that_wait(self: LocalLauncher, trial: int, *, goes_on: bool) -> None:
    worker = self._worker_of(trial)
    assert worker is not None
    assert worker.job is not None
    assert worker.job.waits_for_verdict, f"trial {trial} waits for no verdict"
    LocalLauncher.answer(self, trial, goes_on=goes_on)


def stop_each_time(self: LocalLauncher, trial: int) -> None:
    if (worker := self._worker_of(trial)) is not None:
        worker.process.terminate()


def wait_and_end_all_at_a_death(self: LocalLauncher, timeout_s: float) -> Sequence[Event]:
    events = LocalLauncher.wait(self, timeout_s)
    if any(isinstance(event, TrialEnded) and event.outcome is Outcome.DIED for event in events):
        self.close()
    return events


def remember_memory(self: LocalLauncher, trial: int) -> int | None:
    return 1_000_000


BREAKS: dict[str, tuple[dict[str, Any], str]] = {
    "each_trial_ends_once": (changing_ends(lambda end: [end, end]), "reported"),
    "as_many_trials_as_it_has_slots": ({"start": start_one_at_a_time}, "only these events"),
    "a_wait_lasts_until": (
        {"wait": lambda self, timeout_s: LocalLauncher.wait(self, 0)},
        "returned nothing before its timeout",
    ),
    "a_wait_in_which_nothing_happens": (
        {"wait": lambda self, timeout_s: LocalLauncher.wait(self, 60)},
        "did not end at its timeout",
    ),
    "outcome_that_the_runner_returns": (changing_ends(lambda end: [replace(end, reason="")]), "asked to diverge"),
    "a_verdict_reaches": (
        {"answer": lambda self, trial, goes_on: LocalLauncher.answer(self, trial, goes_on=True)},
        "PRUNED",
    ),
    "waits_for_no_verdict": ({"answer": answer_those_that_wait}, "waits for no verdict"),
    "an_exception_of_the_runner": (changing_ends(lambda end: [replace(end, outcome=Outcome.DIED)]), "ValueError"),
    "a_runner_that_cannot_be_made": (changing_ends(lambda end: [replace(end, reason="")]), "ModuleNotFoundError"),
    "a_process_that_dies_is_reported": (changing_ends(lambda end: [replace(end, reason="it died")]), "does not name"),
    "does_no_harm_to_the_others": ({"wait": wait_and_end_all_at_a_death}, "only these events"),
    "has_failed_with_that_reason": (changing_ends(lambda end: [replace(end, reason="")]), "too slow"),
    "comes_too_late": (
        changing_ends(lambda end: [replace(end, outcome=Outcome.FAILED, reason="too slow")]),
        "not FINISHED",
    ),
    "may_save_first": ({"stop": stop_each_time}, "before it had saved"),
    "as_soon_as_it_is_started": (changing_ends(lambda end: [replace(end, outcome=Outcome.DIED)]), "STOPPED"),
    "requests_to_a_trial_that_has_ended": ({"memory_bytes": remember_memory}, "memory_bytes returned 1000000"),
    "the_memory_of_a_trial": ({"memory_bytes": remember_memory}, "300 MB were added"),
    "is_added_to_its_log": ({"start": start_with_a_new_log}, "a log contains"),
    "close_ends_all": ({"close": lambda self: None}, "are still running"),
    "nothing_outlives": ({"start": start_with_a_helper}, "are still running"),
}
