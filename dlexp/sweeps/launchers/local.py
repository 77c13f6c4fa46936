"""Trials in processes of this machine, forked from a server that has imported TensorFlow already.

A worker process is kept for further trials, one after the other, and replaced after a failure, after many trials, or
when it has grown. A worker ends when the pipe to its driver closes, which the kernel does however the driver ends. It
leads a process group, and is ended with all that its trials have started.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

import psutil

from dlexp.sweeps.launchers.base import EpochEnded, Event, Launcher, Outcome, TrialEnded, TrialJob
from dlexp.sweeps.launchers.messages import decode_event, encode_job
from dlexp.sweeps.launchers.worker import VERDICT, WorkerOptions, work

_MOST_GROWTH = 1.5  # of a worker's memory, over that after its first trial
_CLOSING_SECONDS = 2.0
_UNKNOWN_EXIT = 255  # what multiprocessing says of any process once the server has died; it may live


@dataclass
class _Worker:
    """A process and this end of its pipe.

    Attributes:
        process: leads a process group of its own, once it has begun.
        connection: carries jobs and verdicts there, events back.
        slot: no other worker that lives has it.
        job: what it is at; None if it waits for more.
        trials: that it has ended.
        first_memory: bytes that it held after the first one.
        kill_reason: why it was killed; it takes no further job.
        is_stopping: it was asked to stop; neither does it then.
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
        runner: `module:name` of a class without arguments that makes a `Runner`; imported before processes are forked.
        workers: trials at once.
        trials_per_worker: after so many a worker is replaced; 1 gives each trial a process of its own.
        one_gpu_each: workers share out the GPUs that there are; otherwise each uses all.
    """

    def __init__(self, runner: str, *, workers: int, trials_per_worker: int, one_gpu_each: bool = True) -> None:
        self.slots, self._one_gpu_each = workers, one_gpu_each
        self._runner, self._trials_per_worker = runner, trials_per_worker
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([runner.partition(":")[0]])
        forkserver.ensure_running()  # it imports while the driver gets ready
        self._workers: list[_Worker] = []

    def start(self, job: TrialJob) -> None:
        """Gives the trial to a worker that is free, or to a new one."""
        worker = self._find_idle() or self._add_worker()
        worker.job = job
        _send(worker, encode_job(job))

    def wait(self, timeout_s: float) -> Sequence[Event]:
        """Reads what workers have sent; those that have died are replaced by need."""
        busy = {worker.connection: worker for worker in self._workers if worker.job is not None}
        ready = multiprocessing.connection.wait(list(busy), timeout_s)
        return [event for connection in ready for event in self._receive(busy[connection])]  # type: ignore[index]

    def answer(self, trial: int, *, goes_on: bool) -> None:
        """Sends the verdict."""
        worker = self._worker_of(trial)
        if worker is not None and worker.job is not None and worker.job.waits_for_verdict:
            _send(worker, VERDICT[goes_on])

    def stop(self, trial: int) -> None:
        """Sends SIGTERM, once: a training takes the first one as a request, and the second one as an order."""
        worker = self._worker_of(trial)
        if worker is not None and not worker.is_stopping:
            worker.is_stopping = True
            worker.process.terminate()

    def kill(self, trial: int, reason: str) -> None:
        """Sends SIGKILL; the pipe tells of it."""
        worker = self._worker_of(trial)
        if worker is not None:
            worker.kill_reason = reason
            _kill(worker)

    def memory_bytes(self, trial: int) -> int | None:
        """Resident memory of the worker."""
        worker = self._worker_of(trial)
        return None if worker is None else _memory_of(worker)

    def close(self) -> None:
        """Kills all workers; the server that they are forked from stays until this process ends."""
        for worker in self._workers:
            _kill(worker)
        while self._workers:
            self._dismiss(self._workers[0])

    def _add_worker(self) -> _Worker:
        slot = min(set(range(self.slots)) - {worker.slot for worker in self._workers})
        ours, theirs = self._context.Pipe()
        options = WorkerOptions(self._runner, os.getcwd(), gpu=slot if self._one_gpu_each else None)
        process = self._context.Process(target=work, args=(theirs, options), name=f"dlexp-worker-{slot}", daemon=True)
        with _hidden_main():
            process.start()
        theirs.close()
        worker = _Worker(process, ours, slot)
        self._workers.append(worker)
        return worker

    def _worker_of(self, trial: int) -> _Worker | None:
        """The worker that is at a trial; None if it has ended."""
        return next(
            (worker for worker in self._workers if worker.job is not None and worker.job.trial.trial == trial), None
        )

    def _find_idle(self) -> _Worker | None:
        for worker in [worker for worker in self._workers if worker.job is None]:
            if not worker.connection.poll():
                return worker
            self._dismiss(worker)  # one that waits sends nothing: its pipe has closed, so it has died
        return None

    def _dismiss(self, worker: _Worker) -> None:
        """Ends a worker, and returns when it has ended: then its slot, and its GPU, are free."""
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
        ending = worker.is_stopping or worker.kill_reason  # which came too late for this trial
        if spent or ending or event.outcome not in (Outcome.FINISHED, Outcome.PRUNED):
            self._dismiss(worker)

    def _bury(self, worker: _Worker) -> TrialEnded:
        """What is left to say of a worker whose pipe has closed in the midst of a trial."""
        worker.process.join(_CLOSING_SECONDS)
        code = worker.process.exitcode
        _kill_group(worker)  # what its trial has started, as it has died just now
        self._dismiss(worker)
        assert worker.job is not None  # only busy workers are listened to
        trial = worker.job.trial.trial
        if worker.kill_reason:
            return TrialEnded(trial, Outcome.FAILED, worker.kill_reason)
        if worker.is_stopping and code == -signal.SIGTERM:  # it had not begun, or was through with everything
            return TrialEnded(trial, Outcome.STOPPED, "stopped by SIGTERM")
        return TrialEnded(trial, Outcome.DIED, f"its process {_describe_exit(code)}")


def _send(worker: _Worker, message: bytes) -> None:
    with contextlib.suppress(OSError):  # where it has died meanwhile, which `wait` finds and tells
        worker.connection.send_bytes(message)


def _kill(worker: _Worker) -> None:
    """Kills a worker that lives, and what its trials have started; does nothing if it has ended.

    The number of one that ended a while ago may be that of another process by now.
    """
    if worker.process.exitcode in (None, _UNKNOWN_EXIT):
        _kill_group(worker)
        worker.process.kill()  # one that does not lead a group yet


def _kill_group(worker: _Worker) -> None:
    assert worker.process.pid is not None  # it was started
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.process.pid, signal.SIGKILL)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Within the block, a process that is started does not import the script of this one, as it would do otherwise.

    That would cost time, and run the whole script again where nothing in it guards against that.
    """
    main = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main |= kept


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "has closed its pipe, and went on"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _memory_of(worker: _Worker) -> int | None:
    try:
        return int(psutil.Process(worker.process.pid).memory_info().rss)
    except psutil.Error:
        return None
