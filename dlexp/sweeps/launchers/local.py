"""Trials in processes of this machine, forked from a server that has imported TensorFlow already.

A worker process is kept for further trials, one after the other, and replaced after a failure, after many trials, or
when it has grown. A worker ends when the pipe to its driver closes, which the kernel does however the driver ends.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import psutil

from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.messages import decode_event, encode_job
from dlexp.sweeps.launchers.worker import VERDICT, WorkerOptions, work

_MOST_GROWTH = 1.5  # of a worker's memory, over that after its first trial
_CLOSING_SECONDS = 2.0


@dataclass
class _Worker:
    """A process and this end of its pipe."""

    process: ForkServerProcess
    connection: Connection
    slot: int
    job: TrialJob | None = None
    trials: int = 0
    first_memory: int = 0
    kill_reason: str = ""


class LocalLauncher(Launcher):
    """Runs trials in processes of this machine.

    Args:
        runner: `module:name` of a class without arguments that makes a `Runner`; imported before processes are forked.
        workers: trials at once.
        trials_per_worker: after so many a worker is replaced; 1 gives each trial a process of its own.
    """

    def __init__(self, runner: str, *, workers: int, trials_per_worker: int) -> None:
        self.slots = workers
        self._runner, self._trials_per_worker = runner, trials_per_worker
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([runner.partition(":")[0]])
        forkserver.ensure_running()  # it imports while the driver gets ready
        self._workers: list[_Worker] = []

    def start(self, job: TrialJob) -> None:
        """Gives the trial to a worker that is free, or to a new one."""
        worker = next((each for each in self._workers if each.job is None), None) or self._add_worker()
        worker.job = job
        with contextlib.suppress(OSError):  # where it has died meanwhile, which `wait` finds and tells
            worker.connection.send_bytes(encode_job(job))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Reads what workers have sent; those that have died are replaced by need."""
        busy = {each.connection: each for each in self._workers if each.job is not None}
        ready = multiprocessing.connection.wait(list(busy), timeout_s)
        return [event for connection in ready for event in self._receive(busy[connection])]  # type: ignore[index]

    def answer(self, trial: int, *, goes_on: bool) -> None:
        """Sends the verdict."""
        self._worker_of(trial).connection.send_bytes(VERDICT[goes_on])

    def stop(self, trial: int) -> None:
        """Sends SIGTERM, which a training takes as a request."""
        self._worker_of(trial).process.terminate()

    def kill(self, trial: int, reason: str) -> None:
        """Sends SIGKILL; the pipe tells of it."""
        worker = self._worker_of(trial)
        worker.kill_reason = reason
        worker.process.kill()

    def memory_bytes(self, trial: int) -> int | None:
        """Resident memory of the worker."""
        return _memory_of(self._worker_of(trial))

    def close(self) -> None:
        """Kills what still runs; idle workers end by themselves when their pipe closes."""
        for worker in self._workers:
            if worker.job is not None:
                worker.process.kill()
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(_CLOSING_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
        self._workers.clear()

    def _add_worker(self) -> _Worker:
        slot = min(set(range(self.slots)) - {each.slot for each in self._workers})
        ours, theirs = self._context.Pipe()
        options = WorkerOptions(self._runner, slot, os.getcwd())
        process = self._context.Process(target=work, args=(theirs, options), name=f"dlexp-worker-{slot}", daemon=True)
        process.start()
        theirs.close()
        worker = _Worker(process, ours, slot)
        self._workers.append(worker)
        return worker

    def _worker_of(self, trial: int) -> _Worker:
        return next(each for each in self._workers if each.job is not None and each.job.trial.trial == trial)

    def _receive(self, worker: _Worker) -> Sequence[Event]:
        try:
            event = decode_event(worker.connection.recv_bytes())
        except (EOFError, OSError):
            return [self._bury(worker)]
        if isinstance(event, EpochEnded):
            return [event]
        self._retire_if_due(worker, event)
        return [event]

    def _retire_if_due(self, worker: _Worker, event: TrialEnded) -> None:
        worker.job = None
        worker.trials += 1
        memory = _memory_of(worker) or 0
        worker.first_memory = worker.first_memory or memory
        spent = worker.trials >= self._trials_per_worker or memory > _MOST_GROWTH * worker.first_memory
        if spent or event.outcome not in (Outcome.FINISHED, Outcome.PRUNED):
            self._workers.remove(worker)
            worker.connection.close()  # at which it ends

    def _bury(self, worker: _Worker) -> TrialEnded:
        """What is left to say of a worker whose pipe has closed in the midst of a trial."""
        self._workers.remove(worker)
        worker.process.join(_CLOSING_SECONDS)
        worker.process.kill()
        worker.connection.close()
        assert worker.job is not None  # only busy workers are listened to
        trial = worker.job.trial.trial
        if worker.kill_reason:
            return TrialEnded(trial, Outcome.FAILED, worker.kill_reason)
        return TrialEnded(trial, Outcome.DIED, f"its process {_describe_exit(worker.process.exitcode)}")


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _memory_of(worker: _Worker) -> int | None:
    try:
        return int(psutil.Process(worker.process.pid).memory_info().rss)
    except psutil.Error:
        return None
