"""How the conformance suite of launchers makes one, and waits for what its trials tell."""

import contextlib
import math
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded
from dlexp.testing.fake_trials import RUNNER, fake_job

PATIENCE_SECONDS = 60.0  # until something that must happen is given up: far more than it takes


@dataclass(frozen=True)
class LauncherMaker:
    """How a launcher is made, in this process or in another one.

    Attributes:
        name: `module:name` of what makes it, from `runner`, `workers` and the options. Its trials must run on this
            machine.
        options: further arguments, of types that JSON has.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, **options: Any) -> dict[str, Any]:
        """What it is made from: trials of `FakeTrials` in two slots, unless the options say something else."""
        return {"runner": RUNNER, "workers": 2} | dict(self.options) | options

    @contextlib.contextmanager
    def open(self, **options: Any) -> Iterator[Launcher]:
        """Makes one, and closes it at the end of the block."""
        launcher: Launcher = pkgutil.resolve_name(self.name)(**self.arguments(**options))
        try:
            yield launcher
        finally:
            launcher.close()


def wait_until(launcher: Launcher, is_enough: Callable[[Sequence[Event]], object]) -> list[Event]:
    """Collects events until `is_enough` of them is true; asserts that this does not take for ever."""
    events: list[Event] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_enough(events):
        assert time.monotonic() < deadline, f"in {PATIENCE_SECONDS:g} s only this has happened: {events}"
        events += launcher.wait(0.25)
    return events


def wait_for_epochs(launcher: Launcher, count: int) -> dict[int, int]:
    """Waits until trials have told of so many epochs; the `pid` of the last one that each has told of, by trial."""
    events = wait_until(launcher, lambda events: len(events) >= count)
    ended = [each for each in events if isinstance(each, TrialEnded)]
    assert not ended, f"trials have ended too early: {ended}"
    return {each.trial: int(each.metrics["pid"]) for each in events if isinstance(each, EpochEnded)}


def wait_for_ends(launcher: Launcher, *trials: int) -> dict[int, TrialEnded]:
    """Waits until these trials have ended; how, by trial."""
    return ends_of(wait_until(launcher, lambda events: ends_of(events).keys() >= set(trials)))


def run_trial(launcher: Launcher, trial: int, does: str, **job: Any) -> TrialEnded:
    """Runs a trial to its end."""
    launcher.start(fake_job(trial, does, **job))
    return wait_for_ends(launcher, trial)[trial]


def ends_of(events: Sequence[Event]) -> dict[int, TrialEnded]:
    """How trials have ended, by trial."""
    return {each.trial: each for each in events if isinstance(each, TrialEnded)}


def check_end(ended: TrialEnded, outcome: Outcome, reason: str | None = None) -> None:
    """Asserts how a trial has ended, and for what reason, if one is given."""
    assert ended.outcome is outcome, f"trial {ended.trial} came out as {ended.outcome} ({ended.reason}), not {outcome}"
    assert reason in (None, ended.reason), f"trial {ended.trial} has the reason {ended.reason!r}, not {reason!r}"


def check_metrics(events: Sequence[Event]) -> None:
    """Asserts that metrics have come through that JSON does not know."""
    for event in events:
        if isinstance(event, EpochEnded):
            values = event.metrics["nan"], event.metrics["inf"]
            assert math.isnan(values[0]) and values[1] == math.inf, f"NaN and infinity came out as {values}"  # noqa: PT018
