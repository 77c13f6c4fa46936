"""Runs trials in processes of this machine, forked from a server that has already imported TensorFlow.

A worker process runs one trial after another. It is replaced after a failure, after many trials, or when its memory has
grown. A worker ends when the pipe to its driver closes: the kernel closes it, however the driver ends. A worker leads a
process group, and is killed together with all processes that its trials have started.
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

from dlexp.machine.forking import describe_exit, hidden_main
from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.messages import decode_event, encode_job
from dlexp.sweeps.launchers.worker import VERDICT, WorkerOptions, work

_MOST_GROWTH = 1.5  # largest memory of a worker, relative to that after its first trial
_CLOSING_SECONDS = 2.0
_UNKNOWN_EXIT = 255  # multiprocessing reports this for every process after the server has died; it may be alive


@dataclass
class _Worker:
    """A worker process and the driver's end of its pipe.

    Attributes:
        process: leads a separate process group as soon as it has begun.
        connection: sends jobs and verdicts, receives events.
        slot: number of its slot, which no other living worker has.
        job: its current job; None if it is idle.
        trials: number of trials that it has ended.
        first_memory: bytes that it held after its first trial.
        kill_reason: why it was killed; it gets no further job.
        is_stopping: whether it was asked to stop; it gets no further job then.
    """

    process: ForkServerProcess
    connection: Connection
    slot: int
    job: TrialJob | None = None
    trials: int = 0
    first_memory: int = 0
    kill_reason: str = ""
    is_stopping: bool = False


class LocalLauncher(Launcher):
    """Runs trials in processes of this machine.

    Args:
        runner: `module:name` of a `Runner` class without arguments; imported before processes are forked.
        workers: number of trials at once.
        trials_per_worker: number of trials after which a worker is replaced; 1 runs each trial in a new process.
        one_gpu_each: whether each worker uses one GPU; otherwise each worker uses all GPUs.
    """

    def __init__(self, runner: str, *, workers: int, trials_per_worker: int, one_gpu_each: bool = True) -> None:
        self.slots, self._one_gpu_each = workers, one_gpu_each
        self._runner, self._trials_per_worker = runner, trials_per_worker
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([runner.partition(":")[0]])
        forkserver.ensure_running()  # it imports while the driver prepares
        self._workers: list[_Worker] = []

    def start(self, job: TrialJob) -> None:
        """Sends the job to an idle worker, or to a new one."""
        worker = self._find_idle() or self._add_worker()
        worker.job = job
        _send(worker, encode_job(job))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Reads the events that workers have sent; dead workers are replaced when they are needed."""
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        ready = multiprocessing.connection.wait(list(busy), timeout_s)
        return [event for connection in ready for event in self._receive(busy[connection])]  # type: ignore[index]

    def answer(self, trial: int, *, goes_on: bool) -> None:
        """Sends the verdict."""
        worker = self._worker_of(trial)
        if worker is not None and worker.job is not None and worker.job.waits_for_verdict:
            _send(worker, VERDICT[goes_on])

    def stop(self, trial: int) -> None:
        """Sends SIGTERM, only once: a second SIGTERM would end the training before it has saved a checkpoint."""
        worker = self._worker_of(trial)
        if worker is not None and not worker.is_stopping:
            worker.is_stopping = True
            worker.process.terminate()

    def kill(self, trial: int, reason: str) -> None:
        """Sends SIGKILL; the closed pipe then reports the end."""
        worker = self._worker_of(trial)
        if worker is not None:
            worker.kill_reason = reason
            _kill(worker)

    def memory_bytes(self, trial: int) -> int | None:
        """Returns the resident memory of the worker."""
        worker = self._worker_of(trial)
        return None if worker is None else _memory_of(worker)

    def close(self) -> None:
        """Kills all workers; the server that they are forked from runs until this process ends."""
        for worker in self._workers:
            _kill(worker)
        while self._workers:
            self._dismiss(self._workers[0])

    def _add_worker(self) -> _Worker:
        slot = min(set(range(self.slots)) - {worker.slot for worker in self._workers})
        driver_end, worker_end = self._context.Pipe()
        options = WorkerOptions(self._runner, os.getcwd(), gpu=slot if self._one_gpu_each else None)
        process = self._context.Process(
            target=work, args=(worker_end, options), name=f"dlexp-worker-{slot}", daemon=True
        )
        with hidden_main():
            process.start()
        worker_end.close()
        worker = _Worker(process, driver_end, slot)
        self._workers.append(worker)
        return worker

    def _worker_of(self, trial: int) -> _Worker | None:
        """Returns the worker that runs a trial; None if the trial has ended."""
        return next(
            (worker for worker in self._workers if worker.job is not None and worker.job.trial.trial == trial), None
        )

    def _find_idle(self) -> _Worker | None:
        for worker in [worker for worker in self._workers if worker.job is None]:
            if not worker.connection.poll():
                return worker
            self._dismiss(worker)  # an idle worker sends nothing: the pipe is ready because it closed, so it has died
        return None

    def _dismiss(self, worker: _Worker) -> None:
        """Kills a worker, and returns when it has ended, so that its slot and its GPU are free."""
        _kill(worker)
        worker.connection.close()
        worker.process.join(_CLOSING_SECONDS)
        self._workers.remove(worker)

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
        ending = worker.is_stopping or worker.kill_reason  # the request came too late for this trial
        if spent or ending or event.outcome not in (Outcome.FINISHED, Outcome.PRUNED):
            self._dismiss(worker)

    def _bury(self, worker: _Worker) -> TrialEnded:
        """Returns the end of a trial whose worker closed its pipe while the trial was running."""
        worker.process.join(_CLOSING_SECONDS)
        code = worker.process.exitcode
        _kill_group(worker)  # the processes that its trial has started
        self._dismiss(worker)
        assert worker.job is not None  # only busy workers are listened to
        trial = worker.job.trial.trial
        if worker.kill_reason:
            return TrialEnded(trial, Outcome.FAILED, worker.kill_reason)
        if worker.is_stopping and code == -signal.SIGTERM:  # the runner had no handler: not begun yet, or already done
            return TrialEnded(trial, Outcome.STOPPED, "stopped by SIGTERM")
        return TrialEnded(trial, Outcome.DIED, f"its process {describe_exit(code)}")


def _send(worker: _Worker, message: bytes) -> None:
    with contextlib.suppress(OSError):  # it has died meanwhile: `wait` reports that
        worker.connection.send_bytes(message)


def _kill(worker: _Worker) -> None:
    """Kills a living worker and the processes that its trials have started; does nothing if it has ended.

    The process ID of an ended worker may belong to another process by now.
    """
    if worker.process.exitcode in (None, _UNKNOWN_EXIT):
        _kill_group(worker)
        worker.process.kill()  # it may not lead a group yet


def _kill_group(worker: _Worker) -> None:
    assert worker.process.pid is not None  # it was started
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)


def _memory_of(worker: _Worker) -> int | None:
    try:
        return int(psutil.Process(worker.process.pid).memory_info().rss)
    except psutil.Error:
        return None
