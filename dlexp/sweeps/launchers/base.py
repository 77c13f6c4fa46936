"""The contract of a launcher: runs trials side by side, and tells what becomes of them."""

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
        trial: which trial of which sweep it is.
        config: of its run, which goes on where a former attempt has left it.
        waits_for_verdict: after each epoch the trial waits to be told whether it goes on.
        log_path: file that gets what the trial prints.
    """

    trial: SweepTrial
    config: ExperimentConfig
    waits_for_verdict: bool = False
    log_path: str = ""


class Outcome(enum.StrEnum):
    """How an attempt at a trial has ended."""

    FINISHED = "FINISHED"
    PRUNED = "PRUNED"
    DIVERGED = "DIVERGED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"  # as it was asked to; it can be resumed
    DIED = "DIED"  # its process has ended, and nobody knows more


@dataclass(frozen=True)
class EpochEnded:
    """A trial has validated an epoch.

    Attributes:
        trial: its number.
        epoch: counted from 1.
        metrics: of the epoch, by name.
    """

    trial: int
    epoch: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialEnded:
    """An attempt at a trial has ended; its slot is free.

    Attributes:
        trial: its number.
        outcome: how.
        reason: one sentence, where it has not finished.
    """

    trial: int
    outcome: Outcome
    reason: str = ""


Event = EpochEnded | TrialEnded


class Runner(Protocol):
    """Runs trials one after the other, in the main thread of a process; what it keeps between them is its own affair.

    It may be asked to stop by SIGTERM, once. Without a handler for it the process ends, which is taken for STOPPED.
    """

    def run(self, job: TrialJob, report: "Report") -> TrialEnded:
        """Runs one trial to its end, however it ends; what it raises nevertheless makes the trial FAILED."""


class Report(Protocol):
    """How a runner tells of an epoch; False if the trial shall be given up."""

    def __call__(self, event: EpochEnded) -> bool:
        """Tells it, and waits for the verdict if the job says so."""


class Launcher(abc.ABC):
    """Runs trials.

    A launcher is used by one thread. `start` returns at once; of each job that was started, exactly one `TrialEnded`
    comes out of `wait`, after all of its `EpochEnded`, also if its process dies. What is asked of a trial that has
    ended does nothing; one that has ended before it was asked, though nobody knew yet, keeps its outcome. Nothing of a
    launcher outlives the process that made it for longer than five seconds, however that ends.

    Attributes:
        slots: how many trials may run at once.
    """

    slots: int

    @abc.abstractmethod
    def start(self, job: TrialJob) -> None:
        """Starts a trial; there must be a free slot."""

    @abc.abstractmethod
    def wait(self, timeout_s: float) -> Sequence[Event]:
        """What has happened since the last call; waits for something to happen, `timeout_s` at the most."""

    @abc.abstractmethod
    def answer(self, trial: int, *, goes_on: bool) -> None:
        """The verdict on the epoch that a trial has told of last; passed over if the trial does not wait for one."""

    @abc.abstractmethod
    def stop(self, trial: int) -> None:
        """Asks a trial to save a checkpoint and leave, with the outcome STOPPED; asking again adds nothing."""

    @abc.abstractmethod
    def kill(self, trial: int, reason: str) -> None:
        """Ends the process of a trial at once, with those it has started; its outcome is FAILED, with that reason."""

    @abc.abstractmethod
    def memory_bytes(self, trial: int) -> int | None:
        """Memory that the process of a trial holds; None where that is not known."""

    @abc.abstractmethod
    def close(self) -> None:
        """Ends all processes at once; may be called twice."""
