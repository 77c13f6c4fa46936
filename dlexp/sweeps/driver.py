"""Drives a sweep: keeps the launcher's slots filled, records the result of each trial, and notifies observers.

The sweep's folder is written before a trial starts and after it ends. So a driver can be killed at any instant, and the
next one can resume from the folder.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dlexp.machine.timestamps import now
from dlexp.runs.run import RECORD_FILE, Status
from dlexp.runs.store import describe_run
from dlexp.sweeps.folder import SweepFolder, Trial, TrialState
from dlexp.sweeps.judging import judge_again
from dlexp.sweeps.launchers.base import EpochEnded, Launcher, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.objective import values_of_run
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.search import GridSearch, Pruning, SampledSearch, Search, build_pruner
from dlexp.sweeps.space.space import Space
from dlexp.sweeps.trial_queue import TrialQueue

_WAIT_SECONDS = 0.25
_LOG_TAIL_CHARS = 2000
_ENDED_RUNS = {
    Status.FINISHED: TrialState.FINISHED,
    Status.PRUNED: TrialState.PRUNED,
    Status.DIVERGED: TrialState.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class SweepLimits:
    """Limits that may differ from one start of a sweep to the next.

    Attributes:
        time_budget_s: seconds after this start in which new trials may begin; 0: no limit.
        trial_seconds: a trial that takes longer is ended as FAILED; 0: no limit.
        trial_bytes: a trial whose process holds more memory is ended as FAILED; 0: no limit.
        retries: how often a trial is started again after its process has died.
        retry_failed: whether failed trials are started again.
    """

    time_budget_s: float = 0.0
    trial_seconds: float = 0.0
    trial_bytes: int = 0
    retries: int = 2
    retry_failed: bool = False


class Observer(Protocol):
    """Is notified of what happens in a sweep; never blocks the driver."""

    def changed(self, trial: Trial) -> None:
        """Called when a trial has a new state or a new epoch."""

    def refresh(self, driver: "SweepDriver") -> None:
        """Called a few times per second."""


class SweepDriver:
    """Drives one sweep to its end, or until `stop` is called.

    Args:
        folder: folder of the sweep; the caller holds its lock.
        plan: the plan of the sweep.
        limits: limits of this start.
        launcher: runs the trials.
        observers: are notified of changes.

    Attributes:
        stopping: whether `stop` was called: no more trials are started.
        started: start time, by `time.monotonic`.
        ended_now: number of trials that have ended since then.
    """

    def __init__(
        self,
        folder: SweepFolder,
        plan: SweepPlan,
        limits: SweepLimits,
        launcher: Launcher,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.folder, self.plan, self.limits = folder, plan, limits
        self.stopping = False
        self.started, self.ended_now = time.monotonic(), 0
        self._queue = TrialQueue(folder, plan)
        self._launcher, self._observers = launcher, observers
        self._began: dict[int, float] = {}
        self._settle_interrupted()
        self._search = self._build_search()
        self._pruning = self._build_pruning()

    def run(self) -> None:
        """Runs trials until none are left."""
        while True:
            self._fill_slots()
            if not self._began:
                return
            if self.stopping:
                self._stop_running()
            for event in self._launcher.wait(_WAIT_SECONDS):
                if isinstance(event, EpochEnded):
                    self._record_epoch(event)
                else:
                    self._record_end(event)
            self._enforce_limits()
            for observer in self._observers:
                observer.refresh(self)

    def stop(self) -> None:
        """Starts no more trials, and makes running ones save a checkpoint and end.

        It only sets a flag, so that a signal handler may call it at any instant, even while a trial is being started.
        """
        self.stopping = True

    def _stop_running(self) -> None:
        for number in self._began:
            self._launcher.stop(number)

    @property
    def trials(self) -> Mapping[int, Trial]:
        """All trials of the sweep, by number."""
        return self._queue.trials

    @property
    def running(self) -> Mapping[int, float]:
        """Start time of each running trial, by `time.monotonic`."""
        return dict(self._began)

    def _settle_interrupted(self) -> None:
        """Records runs that ended after the previous driver was killed, and queues unfinished ones again.

        Trials that were judged by other objectives are judged again, by the records of their runs.
        """
        for trial in judge_again(self.folder, self.plan):
            self._write(trial)
        for trial in list(self.trials.values()):
            if trial.state is TrialState.RUNNING or (trial.state is TrialState.FAILED and self.limits.retry_failed):
                ended = self._ended_state(trial)
                if ended in (TrialState.FINISHED, TrialState.PRUNED):
                    self._write(self._with_results(trial, ended))
                elif ended is None or trial.state is TrialState.RUNNING:
                    state = TrialState.WAITING if ended is None else ended
                    self._write(dataclasses.replace(trial, state=state, attempts=0, reason=""))
        for number, trials in self._queue.points().items():
            self._queue.add_trials(number, trials[0].point)

    def _ended_state(self, trial: Trial) -> TrialState | None:
        run = self._queue.run_of(trial)
        return _ENDED_RUNS.get(run.status()) if (run.path / RECORD_FILE).is_file() else None

    def _build_search(self) -> Search:
        points = sorted(self._queue.points().items())
        if self.plan.search == "grid":
            return GridSearch(self.plan.grid(), first=len(points))
        assert isinstance(self.plan.candidates, Space)  # checked when the plan was made
        previous = [(trials[0].point, self._queue.values_of_point(number)) for number, trials in points]
        return SampledSearch(self.plan.candidates, self.plan, previous)

    def _build_pruning(self) -> Pruning | None:
        pruner = build_pruner(self.plan.pruner, epochs=self.plan.base.optimization.epochs)
        if pruner is None:
            return None
        leaders = [trials[0] for _, trials in sorted(self._queue.points().items())]
        ended = [leader for leader in leaders if leader.state in (TrialState.FINISHED, TrialState.PRUNED)]
        curves = [(self._epochs_of(trial), trial.state is TrialState.FINISHED) for trial in ended]
        trained = [(curve, has_finished) for curve, has_finished in curves if curve]
        return Pruning(pruner, self.plan.objectives[0], trained)

    def _epochs_of(self, trial: Trial) -> dict[int, float]:
        points = self._queue.run_of(trial).points()
        chosen = points[points["key"] == self.plan.objectives[0].name]
        return dict(zip(chosen["epoch"].astype(int), chosen["value"], strict=True))

    def _fill_slots(self) -> None:
        while len(self._began) < self._launcher.slots and not self.stopping and not self._is_out_of_time():
            trial = self._next_waiting()
            if trial is None:
                return
            ended = self._queue.without_a_run(trial)
            if ended is None:
                self._start(trial)
            else:
                self._finish(ended)

    def _is_out_of_time(self) -> bool:
        return 0 < self.limits.time_budget_s <= time.monotonic() - self.started

    def _next_waiting(self) -> Trial | None:
        trial = self._queue.next_waiting()
        while trial is None and self._propose():
            trial = self._queue.next_waiting()
        return trial

    def _propose(self) -> bool:
        """Adds the trials of the next point; returns False if there are no more points."""
        number, total = len(self._queue.points()), self.plan.total_points()
        point = None if total is not None and number >= total else self._search.next_point()
        if point is None:
            return False
        for trial in self._queue.add_trials(number, point):
            self._notify(trial)
        return True

    def _start(self, trial: Trial) -> None:
        job = TrialJob(
            self._queue.identity_of(trial),
            self._queue.config_of(trial),
            waits_for_verdict=self._is_compared(trial),
            log_path=str(self.folder.log_path(trial.number)),
        )
        self._write(
            dataclasses.replace(
                trial, state=TrialState.RUNNING, attempts=trial.attempts + 1, started=trial.started or now()
            )
        )
        self._began[trial.number] = time.monotonic()
        self._launcher.start(job)

    def _is_compared(self, trial: Trial) -> bool:
        """Whether the pruner judges this trial: the first one of a point, which its other seeds wait for."""
        return self._pruning is not None and self._queue.leader_of(trial) is None

    def _record_epoch(self, event: EpochEnded) -> None:
        trial = dataclasses.replace(self.trials[event.trial], epochs=event.epoch)
        if self._pruning is not None and self._is_compared(trial):
            self._launcher.answer(event.trial, goes_on=self._pruning.goes_on(event.trial, event.epoch, event.metrics))
        self._queue.trials[event.trial] = trial
        self._notify(trial)

    def _record_end(self, event: TrialEnded) -> None:
        seconds = time.monotonic() - self._began.pop(event.trial)
        trial = self.trials[event.trial]
        trial = dataclasses.replace(trial, seconds=round(trial.seconds + seconds, 3))
        if event.outcome is Outcome.STOPPED and self.stopping:
            self._write(dataclasses.replace(trial, state=TrialState.WAITING, attempts=trial.attempts - 1))
        elif event.outcome in (Outcome.DIED, Outcome.STOPPED) and trial.attempts <= self.limits.retries:
            self._write(dataclasses.replace(trial, state=TrialState.WAITING, reason=event.reason))
        elif event.outcome in (Outcome.FINISHED, Outcome.PRUNED):
            self._finish(self._with_results(trial, TrialState(event.outcome), event.reason))
        else:
            reason = event.reason
            if event.outcome in (Outcome.DIED, Outcome.STOPPED):
                reason += f", {trial.attempts} times"
            if "SIGKILL" in event.reason:
                reason += ": if memory ran out, dlexp batch-size finds a batch that fits"
            self._finish(self._failed(trial, reason))

    def _with_results(self, trial: Trial, state: TrialState, reason: str = "") -> Trial:
        """Returns a trial with the objectives of its run; FAILED if the run does not have them."""
        row = describe_run(self._queue.run_of(trial))
        try:
            values = values_of_run(row, self.plan.objectives)
        except ValueError as err:
            return self._failed(trial, str(err))
        ended = row.get("ended") or now()
        return dataclasses.replace(trial, state=state, values=values, reason=reason, ended=ended)

    def _failed(self, trial: Trial, reason: str) -> Trial:
        path = self.folder.log_path(trial.number)
        tail = path.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL_CHARS:].strip() if path.exists() else ""
        if tail and tail != f"dlexp: {reason}":
            reason = f"{reason}\n{tail}"
        return dataclasses.replace(trial, state=TrialState.FAILED, reason=reason, ended=now())

    def _finish(self, trial: Trial) -> None:
        if self._pruning is not None:
            self._pruning.end(
                trial.number, pruned=trial.state is TrialState.PRUNED, failed=trial.state is TrialState.FAILED
            )
        self.ended_now += 1
        self._write(trial)
        if all(other.state.has_ended for other in self._queue.points()[trial.point_number]):
            self._search.tell(trial.point_number, self._queue.values_of_point(trial.point_number))

    def _enforce_limits(self) -> None:
        for number, began in list(self._began.items()):
            seconds, limit = time.monotonic() - began, self.limits.trial_seconds
            if limit and seconds > limit:
                self._launcher.kill(number, f"it took longer than {limit:g} s, the limit of a trial")
            elif self.limits.trial_bytes:
                held = self._launcher.memory_bytes(number) or 0
                if held > self.limits.trial_bytes:
                    gigabytes, most = held / 1e9, self.limits.trial_bytes / 1e9
                    self._launcher.kill(number, f"it held {gigabytes:.2f} GB of memory, the limit is {most:.2f} GB")

    def _write(self, trial: Trial) -> None:
        self._queue.write(trial)
        self._notify(trial)

    def _notify(self, trial: Trial) -> None:
        for observer in self._observers:
            observer.changed(trial)
