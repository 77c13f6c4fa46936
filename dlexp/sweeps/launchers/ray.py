"""Runs trials on the nodes of a Ray cluster.

Each slot is a Ray actor. It reserves the resources of a trial on its node and runs one trial after another. Messages
are JSON; no object of dlexp is pickled. All nodes must see the store, dlexp and plug-ins under the same paths.
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

_POLL_SECONDS = 0.2  # how long an actor waits for an event before it handles other calls, such as a stop
_START_SECONDS = 60.0
_MOST_FAILED_STARTS = 3  # of actors, in a row
_PASSED_ON = ("DLEXP_", "KERAS_", "MLFLOW_DISABLE_TELEMETRY", "TF_")  # prefixes of environment variables
_logger = logging.getLogger(__name__)


@dataclass
class _Worker:
    """A Ray actor that runs trials.

    Attributes:
        actor: handle of the actor.
        awaited: reference to the pending answer; None if no call is pending.
        is_ready: whether it has answered before, so that it has a place on a node.
        job: its current job; None if it is idle.
        memory_bytes: memory of the trial at the last answer of the actor.
        kill_reason: why it was killed before it was ready.
        is_stopping: whether its trial should stop.
        is_stop_sent: whether the stop was sent to the actor.
    """

    actor: Any
    awaited: Any
    is_ready: bool = False
    job: TrialJob | None = None
    memory_bytes: int | None = None
    kill_reason: str = ""
    is_stopping: bool = False
    is_stop_sent: bool = False


class RayLauncher(Launcher):
    """Runs trials on the nodes of a Ray cluster.

    Args:
        runner: `module:name` of a `Runner` class without arguments.
        address: address of a cluster; empty: starts one of this machine only. If the process is already connected to
            a cluster, that one is used.
        workers: number of trials at once; 0: as many as the cluster has room for.
        trials_per_worker: number of trials after which an actor starts a new process, on the same node.
        cpus_per_trial: cores that a trial occupies.
        gpus_per_trial: GPUs that a trial occupies.

    Raises:
        ConfigError: Ray is not installed, no cluster is at the address, or no trial fits into the cluster.
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
        """How many trials may run at once: one per actor that has a place in the cluster.

        It is at least 1: if no actor has a place any more, a started trial waits for one.
        """
        return max(1, sum(worker.is_ready for worker in self._workers))

    def start(self, job: TrialJob) -> None:
        """Sends the job to an idle actor.

        Raises:
            TrainingError: no actor is left, as new ones do not start any more.
        """
        free = [worker for worker in self._workers if worker.job is None]
        if not free:
            raise TrainingError("the Ray cluster starts no more workers: look at ray status, then resume the sweep")
        worker = max(free, key=lambda worker: worker.is_ready)
        worker.job, worker.memory_bytes, worker.is_stopping, worker.is_stop_sent = job, None, False, False
        if worker.is_ready:
            worker.awaited = worker.actor.start.remote(encode_job(job))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Polls the actors until an event arrives or the time is over."""
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
        """Only sets a flag, so that a signal handler may call it; the next `wait` sends the stop to the actor."""
        if (worker := self._worker_of(trial)) is not None:
            worker.is_stopping = True

    def kill(self, trial: int, reason: str) -> None:
        """Kills the process of the trial; kills the actor itself if it has no place on a node yet."""
        worker = self._worker_of(trial)
        if worker is not None and worker.is_ready:
            worker.actor.kill.remote(trial, reason)
        elif worker is not None:
            worker.kill_reason = reason
            self._ray.kill(worker.actor)

    def memory_bytes(self, trial: int) -> int | None:
        """Returns the memory of the trial at the last answer of its actor."""
        worker = self._worker_of(trial)
        return None if worker is None else worker.memory_bytes

    def close(self) -> None:
        """Kills all actors with their processes, and the cluster if this launcher has started it."""
        for worker in self._workers:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(worker.actor)
        self._workers.clear()
        self._cluster.close()

    def _add_workers(self, count: int, resources: TrialResources) -> None:
        """Starts actors, and waits until they have places; for a limited time, as other jobs may hold the places."""
        room = count_fitting(self._ray.nodes(), resources)
        if count > room:
            _logger.warning(
                "the Ray cluster has room for %d trials at once, not for --workers=%d: add a node, or give a "
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
        """Returns the worker that runs a trial; None if the trial has ended."""
        return next(
            (worker for worker in self._workers if worker.job is not None and worker.job.trial.trial == trial), None
        )

    def _ask(self, worker: _Worker) -> None:
        """Sends a requested stop to an actor, and polls it for events."""
        if worker.job is not None and worker.is_stopping and not worker.is_stop_sent:
            worker.is_stop_sent = True
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
        """Replaces an actor that has died, and returns the end of its trial."""
        self._workers.remove(worker)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker.actor)
        was_killed_here = bool(worker.kill_reason) or worker.is_stop_sent
        if not worker.is_ready and not was_killed_here:
            self._failed_starts += 1
            _logger.warning("a worker in the Ray cluster did not start: %s", err)
        if self._failed_starts <= _MOST_FAILED_STARTS:
            self._add_worker()
        if worker.job is None:
            return []
        trial = worker.job.trial.trial
        if worker.kill_reason:
            return [TrialEnded(trial, Outcome.FAILED, worker.kill_reason)]
        if worker.is_stop_sent and not worker.is_ready:
            return [TrialEnded(trial, Outcome.STOPPED, "stopped before it began")]
        return [TrialEnded(trial, Outcome.DIED, f"its Ray actor has died: {one_line(err)}")]
