"""Trials on the nodes of a Ray cluster.

Each slot is an actor, which holds what a trial needs on its node and is kept for further trials. Messages are JSON,
nothing of ours is pickled. The store must be seen by all nodes under the same path; so must dlexp and plug-ins.
"""

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlexp.errors import ConfigError, TrainingError, one_line
from dlexp.sweeps.launchers.base import Event, Launcher, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.messages import decode_event, encode_job
from dlexp.sweeps.launchers.node_worker import NodeWorker
from dlexp.sweeps.launchers.ray_cluster import TrialResources, connect, count_fitting

_POLL_SECONDS = 0.2  # how long an actor waits for an event before it looks at other calls, such as a stop
_START_SECONDS = 60.0
_MOST_FAILED_STARTS = 3  # of actors, in a row
_PASSED_ON = ("DLEXP_", "KERAS_", "MLFLOW_DISABLE_TELEMETRY", "TF_")  # environment variables that begin so
_logger = logging.getLogger(__name__)


@dataclass
class _Worker:
    """An actor.

    Attributes:
        actor: its handle.
        awaited: reference to the answer that comes next; None if nothing is asked.
        is_ready: it has answered before, so it has a place on a node.
        job: what it is at; None if it waits for more.
        memory_bytes: that the trial held when the actor answered last.
        kill_reason: why it was killed before it was ready.
        is_stopping: its trial was asked to stop.
        is_told: it has been told so.
    """

    actor: Any
    awaited: Any
    is_ready: bool = False
    job: TrialJob | None = None
    memory_bytes: int | None = None
    kill_reason: str = ""
    is_stopping: bool = False
    is_told: bool = False


class RayLauncher(Launcher):
    """Runs trials on the nodes of a Ray cluster.

    Args:
        runner: `module:name` of a class without arguments that makes a `Runner`.
        address: of a cluster; empty: one is started on this machine, for this machine. If the process is connected to a
            cluster already, that one is used.
        workers: trials at once; 0: as many as the cluster has room for.
        trials_per_worker: after so many a trial gets a new process, on the same node.
        cpus_per_trial: cores that a trial occupies.
        gpus_per_trial: GPUs that a trial occupies.

    Raises:
        ConfigError: Ray is not installed, there is no such cluster, or not one trial fits into it.
    """

    def __init__(
        self,
        runner: str,
        *,
        workers: int,
        trials_per_worker: int,
        address: str = "",
        cpus_per_trial: float = 1.0,
        gpus_per_trial: float = 0.0,
    ) -> None:
        resources = TrialResources(cpus_per_trial, gpus_per_trial)
        self._cluster = connect(address)
        self._ray = self._cluster.ray
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._actor_class = self._ray.remote(num_cpus=cpus_per_trial, num_gpus=gpus_per_trial, max_restarts=0)(
            NodeWorker
        )
        environment = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        self._actor_arguments = (runner, trials_per_worker, os.getcwd(), environment)
        try:
            self._add_workers(workers, resources)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many trials may run at once: one for each actor that has a place in the cluster.

        If none has one any more, a trial that is started waits for it.
        """
        return max(1, sum(worker.is_ready for worker in self._workers))

    def start(self, job: TrialJob) -> None:
        """Gives the trial to an actor that is free.

        Raises:
            TrainingError: there is none, as actors do not start any more.
        """
        free = [worker for worker in self._workers if worker.job is None]
        if not free:
            raise TrainingError("the Ray cluster starts no more workers: look at ray status, then resume the sweep")
        worker = max(free, key=lambda worker: worker.is_ready)
        worker.job, worker.memory_bytes, worker.is_stopping, worker.is_told = job, None, False, False
        if worker.is_ready:
            worker.awaited = worker.actor.start.remote(encode_job(job))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Asks actors what has happened, until something has, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            for worker in self._workers:
                self._ask(worker)
            references = {worker.awaited: worker for worker in self._workers if worker.awaited is not None}
            seconds = max(0.0, deadline - time.monotonic())
            if not references:
                time.sleep(seconds)
                return []
            answered, _ = self._ray.wait(list(references), timeout=seconds)
            events = [event for reference in answered for event in self._receive(references[reference])]
            if events or not answered:
                return events

    def answer(self, trial: int, *, goes_on: bool) -> None:
        """Sends the verdict."""
        if (worker := self._worker_of(trial)) is not None:
            worker.actor.answer.remote(trial, goes_on)

    def stop(self, trial: int) -> None:
        """Notes it; the next `wait` tells the actor, so that a signal handler may call this."""
        if (worker := self._worker_of(trial)) is not None:
            worker.is_stopping = True

    def kill(self, trial: int, reason: str) -> None:
        """Tells the actor to; one that has no place yet is given up."""
        worker = self._worker_of(trial)
        if worker is not None and worker.is_ready:
            worker.actor.kill.remote(trial, reason)
        elif worker is not None:
            worker.kill_reason = reason
            self._ray.kill(worker.actor)

    def memory_bytes(self, trial: int) -> int | None:
        """What the trial held when its actor answered last, a moment ago."""
        worker = self._worker_of(trial)
        return None if worker is None else worker.memory_bytes

    def close(self) -> None:
        """Kills all actors, with their processes, and the cluster, if it was started here."""
        for worker in self._workers:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker.actor)
        self._workers.clear()
        self._cluster.close()

    def _add_workers(self, count: int, resources: TrialResources) -> None:
        """Starts actors, and waits until they have their places, or, where other jobs hold those, for a while."""
        room = count_fitting(self._ray.nodes(), resources)
        if count > room:
            _logger.warning(
                "the Ray cluster has room for %d trials at once, not for --workers=%d: give it another node, or a "
                "smaller --cpus_per_trial than %g",
                room,
                count,
                resources.cpus,
            )
        for _ in range(min(count, room) if count else room):
            self._add_worker()
        deadline = time.monotonic() + _START_SECONDS
        while not all(worker.is_ready for worker in self._workers) and time.monotonic() < deadline:
            self.wait(0.25)
        if not any(worker.is_ready for worker in self._workers):
            raise ConfigError(
                f"no worker has started in the Ray cluster within {_START_SECONDS:g} s: other jobs may hold its "
                "resources, or dlexp is missing on its nodes: look at ray status"
            )

    def _add_worker(self) -> None:
        actor = self._actor_class.remote(*self._actor_arguments)
        self._workers.append(_Worker(actor, actor.describe.remote()))

    def _worker_of(self, trial: int) -> _Worker | None:
        """The worker that is at a trial; None if it has ended."""
        return next(
            (worker for worker in self._workers if worker.job is not None and worker.job.trial.trial == trial), None
        )

    def _ask(self, worker: _Worker) -> None:
        """Tells an actor to stop, if its trial was asked to, and asks what has happened."""
        if worker.job is not None and worker.is_stopping and not worker.is_told:
            worker.is_told = True
            if worker.is_ready:
                worker.actor.stop.remote(worker.job.trial.trial)
            else:
                self._ray.kill(worker.actor)
        if worker.job is not None and worker.awaited is None:
            worker.awaited = worker.actor.poll.remote(_POLL_SECONDS)

    def _receive(self, worker: _Worker) -> Sequence[Event]:
        try:
            answer = self._ray.get(worker.awaited)
        except self._ray.exceptions.RayError as err:
            return self._bury(worker, err)
        worker.awaited = None
        if not worker.is_ready:
            worker.is_ready, self._failed_starts = True, 0
            if worker.job is not None:
                worker.awaited = worker.actor.start.remote(encode_job(worker.job))
            return []
        messages, worker.memory_bytes = answer
        events = [decode_event(message) for message in messages]
        if any(isinstance(event, TrialEnded) for event in events):
            worker.job = None
        return events

    def _bury(self, worker: _Worker, err: Exception) -> Sequence[Event]:
        """Replaces an actor that has died, and says what is left to say of its trial."""
        self._workers.remove(worker)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker.actor)
        is_asked = bool(worker.kill_reason) or worker.is_told
        if not worker.is_ready and not is_asked:
            self._failed_starts += 1
            _logger.warning("a worker in the Ray cluster did not start: %s", err)
        if self._failed_starts <= _MOST_FAILED_STARTS:
            self._add_worker()
        if worker.job is None:
            return []
        trial = worker.job.trial.trial
        if worker.kill_reason:
            return [TrialEnded(trial, Outcome.FAILED, worker.kill_reason)]
        if worker.is_told and not worker.is_ready:
            return [TrialEnded(trial, Outcome.STOPPED, "stopped before it began")]
        return [TrialEnded(trial, Outcome.DIED, f"its Ray actor has died: {one_line(err)}")]
