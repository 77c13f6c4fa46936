"""The contract of a launcher, which runs trials in parallel and reports their epochs and ends."""

import abc
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import SweepTrial


@dataclass(frozen=True)
class TrialJob:
    """One attempt at a trial.

    Attributes:
        trial: the trial and its sweep.
        config: config of its run; a new attempt resumes the run of the previous one.
        waits_for_verdict: after each epoch the trial waits for the answer whether it continues.
        log_path: file that the output of the trial is appended to.
    """

    trial: SweepTrial
    config: ExperimentConfig
    waits_for_verdict: bool = False
    log_path: str = ""


class Outcome(enum.StrEnum):
    """How an attempt at a trial ended."""

    FINISHED = "FINISHED"
    PRUNED = "PRUNED"
    DIVERGED = "DIVERGED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"  # ended because it was asked to; it can be resumed
    DIED = "DIED"  # its process ended without a result


@dataclass(frozen=True)
class EpochEnded:
    """A trial has trained and validated an epoch.

    Attributes:
        trial: number of the trial.
        epoch: number of the epoch, counted from 1.
        metrics: metrics of the epoch, by name.
    """

    trial: int
    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialEnded:
    """An attempt at a trial has ended; its slot is free.

    Attributes:
        trial: number of the trial.
        outcome: how it ended.
        reason: one sentence if it did not finish, else empty.
    """

    trial: int
    outcome: Outcome
    reason: str = ""


Event = EpochEnded | TrialEnded


class Runner(Protocol):
    """Runs trials one after another, in the main thread of a process; it may keep state between them.

    SIGTERM asks it to stop, at most once. If it has no handler for SIGTERM, the process ends; the outcome is STOPPED.
    """

    def run(self, job: TrialJob, report: "Report") -> TrialEnded:
        """Runs one trial and returns how it ended; should not raise: an exception makes the trial FAILED."""


class Report(Protocol):
    """Reports an epoch of a running trial; returns False if the trial is pruned."""

    def __call__(self, event: EpochEnded) -> bool:
        """Sends the event, and waits for the verdict if the job asks for one."""


class Launcher(abc.ABC):
    """Runs trials.

    A launcher is used by one thread. `start` returns immediately. For each started job, `wait` returns exactly one
    `TrialEnded`, after all of its `EpochEnded`, even if its process dies. `answer`, `stop` and `kill` do nothing to a
    trial that has ended: it keeps its outcome, even if `wait` has not returned its end yet. All processes of a launcher
    end at most five seconds after the process that made it, however that process ends.

    Attributes:
        slots: how many trials may run at the same time.
    """

    slots: int

    @abc.abstractmethod
    def start(self, job: TrialJob) -> None:
        """Starts a trial; there must be a free slot."""

    @abc.abstractmethod
    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Returns the events since the last call; waits at most `timeout_s` for the first one."""

    @abc.abstractmethod
    def answer(self, trial: int, *, goes_on: bool) -> None:
        """Gives the verdict on the last reported epoch of a trial; ignored if the trial does not wait for one."""

    @abc.abstractmethod
    def stop(self, trial: int) -> None:
        """Asks a trial to save a checkpoint and end, with the outcome STOPPED; further calls have no effect."""

    @abc.abstractmethod
    def kill(self, trial: int, reason: str) -> None:
        """Ends the process of a trial and its child processes at once; the outcome is FAILED, with this reason."""

    @abc.abstractmethod
    def memory_bytes(self, trial: int) -> int | None:
        """Returns the memory that the process of a trial holds; None if it is not known."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends all processes at once; may be called twice."""
