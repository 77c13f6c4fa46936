"""Makes launchers for their conformance suite, and waits for the events of their trials."""

import contextlib
import math
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded
from dlexp.testing.fake_trials import RUNNER, fake_job

PATIENCE_SECONDS = 60.0  # longest wait for an event that must happen: far more than it takes


@dataclass(frozen=True)
class LauncherMaker:
    """Makes a launcher, in this process or in another one.

    Attributes:
        name: `module:name` of the class or function that makes it from `runner`, `workers` and the options. Its trials
            must run on this machine.
        options: further arguments, as JSON values.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, **options: Any) -> dict[str, Any]:
        """Returns the arguments of the launcher: `FakeTrials` in two slots, unless the options change that."""
        return {"runner": RUNNER, "workers": 2} | dict(self.options) | options

    @contextlib.contextmanager
    def open(self, **options: Any) -> Iterator[Launcher]:
        """Makes a launcher, and closes it at the end of the block."""
        launcher: Launcher = pkgutil.resolve_name(self.name)(**self.arguments(**options))
        try:
            yield launcher
        finally:
            launcher.close()


def wait_until(launcher: Launcher, is_enough: Callable[[Sequence[Event]], object]) -> list[Event]:
    """Collects events until `is_enough(events)` is true; asserts that this happens within `PATIENCE_SECONDS`."""
    events: list[Event] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_enough(events):
        assert time.monotonic() < deadline, f"within {PATIENCE_SECONDS:g} s there were only these events: {events}"
        events += launcher.wait(0.25)
    return events


def wait_for_epochs(launcher: Launcher, count: int) -> dict[int, int]:
    """Waits until trials have reported `count` epochs; returns the `pid` of the last report of each trial."""
    events = wait_until(launcher, lambda events: len(events) >= count)
    ended = [event for event in events if isinstance(event, TrialEnded)]
    assert not ended, f"trials have ended too early: {ended}"
    return {event.trial: int(event.metrics["pid"]) for event in events if isinstance(event, EpochEnded)}


def wait_for_ends(launcher: Launcher, *trials: int) -> dict[int, TrialEnded]:
    """Waits until these trials have ended; returns their ends by trial."""
    return ends_of(wait_until(launcher, lambda events: ends_of(events).keys() >= set(trials)))


def run_trial(launcher: Launcher, trial: int, does: str, **job: Any) -> TrialEnded:
    """Runs a trial to its end."""
    launcher.start(fake_job(trial, does, **job))
    return wait_for_ends(launcher, trial)[trial]


def ends_of(events: Sequence[Event]) -> dict[int, TrialEnded]:
    """Returns the ends of trials by trial."""
    return {event.trial: event for event in events if isinstance(event, TrialEnded)}


def check_end(ended: TrialEnded, outcome: Outcome, reason: str | None = None) -> None:
    """Asserts the outcome of a trial, and its reason if one is given."""
    assert ended.outcome is outcome, f"trial {ended.trial} ended as {ended.outcome} ({ended.reason}), not {outcome}"
    assert reason in (None, ended.reason), f"trial {ended.trial} has the reason {ended.reason!r}, not {reason!r}"


def check_metrics(events: Sequence[Event]) -> None:
    """Asserts that NaN and infinity, which standard JSON does not have, are transmitted."""
    for event in events:
        if isinstance(event, EpochEnded):
            values = event.metrics["nan"], event.metrics["inf"]
            assert math.isnan(values[0]) and values[1] == math.inf, f"NaN and infinity came out as {values}"  # noqa: PT018
