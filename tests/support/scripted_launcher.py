"""A launcher for tests that runs nothing: a function decides how a trial ends, and its run folder is written."""

import collections
from collections.abc import Callable, Mapping, Sequence

from dlexp.runs.run import Run, Status, create_run, run_folder
from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded, TrialJob

Script = Callable[[TrialJob], Sequence[Event]]
_STATUS = {
    Outcome.FINISHED: Status.FINISHED,
    Outcome.PRUNED: Status.PRUNED,
    Outcome.DIVERGED: Status.DIVERGED,
    Outcome.STOPPED: Status.KILLED,
    Outcome.DIED: Status.RUNNING,
    Outcome.FAILED: Status.FAILED,
}


class ScriptedLauncher(Launcher):
    """Tells of each job what its script says, one event a call; `wait` goes round the jobs that run.

    Attributes:
        jobs: all that were started, in order.
        killed: reasons, by trial.
    """

    def __init__(self, script: Script, *, slots: int = 2) -> None:
        self.slots = slots
        self.jobs: list[TrialJob] = []
        self.killed: dict[int, str] = {}
        self.answers: list[tuple[int, bool]] = []
        self._script = script
        self._running: dict[int, tuple[TrialJob, collections.deque[Event]]] = {}
        self._asked_to_stop: set[int] = set()

    @property
    def running(self) -> list[int]:
        """Numbers of the trials that run."""
        return list(self._running)

    def start(self, job: TrialJob) -> None:
        assert len(self._running) < self.slots
        self.jobs.append(job)
        self._running[job.trial.trial] = (job, collections.deque(self._script(job)))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        for number, (job, events) in list(self._running.items()):
            if number in self.killed or number in self._asked_to_stop:
                outcome = Outcome.FAILED if number in self.killed else Outcome.STOPPED
                events.clear()
                events.append(TrialEnded(number, outcome, self.killed.get(number, "stopped by SIGTERM")))
            if events:
                event = events.popleft()
                if isinstance(event, TrialEnded):
                    write_run(job, event.outcome)
                    del self._running[number]
                else:
                    self._running[number] = self._running.pop(number)
                return [event]
        return []

    def answer(self, trial: int, *, goes_on: bool) -> None:
        self.answers.append((trial, goes_on))
        if not goes_on:
            _, events = self._running[trial]
            events.clear()
            events.append(TrialEnded(trial, Outcome.PRUNED, "given up"))

    def stop(self, trial: int) -> None:
        self._asked_to_stop.add(trial)

    def kill(self, trial: int, reason: str) -> None:
        self.killed[trial] = reason

    def memory_bytes(self, trial: int) -> int | None:
        return 5_000_000_000

    def close(self) -> None:
        self._running.clear()


def score(job: TrialJob) -> float:
    """The accuracy that a run of `write_run` has reached: it is best at a learning rate of 0.01 and with seed 0."""
    config = job.config
    return 1.0 - abs(config.optimization.learning_rate - 0.01) - 0.001 * config.seed


def write_run(job: TrialJob, outcome: Outcome) -> Run:
    """Writes the run folder of a trial that ended so."""
    store = job.config.tracking.store
    run = Run(job.trial.run_id, run_folder(store, job.trial.run_id))
    if not (run.path / "run.json").exists():
        create_run(
            store, job.trial.run_id, name="a", config=job.config, dataset_id="d", dataset_name="d", **job.trial.record()
        )
    metrics: Mapping[str, float] = {"val_accuracy": score(job), "test_accuracy": score(job) - 0.01}
    # No tracker has it yet, and its best checkpoint is not there, as where a sweep keeps those of others.
    missing = {"unsynced": ["MLflow"], "best_checkpoint": "checkpoints/a__best.keras"}
    run.update(status=_STATUS[outcome], metrics=metrics, num_parameters=1000, best_epoch=1, **missing)
    return run


def finish(job: TrialJob) -> Sequence[Event]:
    """All epochs, then the end."""
    number, count = job.trial.trial, job.config.optimization.epochs
    epochs = [EpochEnded(number, item, {"val_accuracy": score(job) * item / count}) for item in range(1, count + 1)]
    return [*epochs, TrialEnded(number, Outcome.FINISHED)]


def end(outcome: Outcome, reason: str = "") -> Script:
    """A script in which every trial ends so, at once."""
    return lambda job: [TrialEnded(job.trial.trial, outcome, reason)]
