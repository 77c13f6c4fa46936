"""The worker process of a local launcher: reads jobs from a pipe, runs them, and sends back events."""

import contextlib
import functools
import os
import pkgutil
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from dlexp.machine.forking import end_with_parent, printing_to
from dlexp.sweeps.launchers.base import EpochEnded, Outcome, Report, Runner, TrialEnded, TrialJob
from dlexp.sweeps.launchers.messages import decode_job, encode_event

VERDICT = {True: b"goes on", False: b"is given up"}


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker begins.

    Attributes:
        runner: `module:name` of a `Runner` class without arguments.
        folder: working directory, which paths in configs may be relative to.
        gpu: number of the only GPU that the worker uses, if there are GPUs; None: it uses all visible GPUs.
    """

    runner: str
    folder: str
    gpu: int | None = None


def work(connection: Connection, options: WorkerOptions) -> None:
    """Runs the jobs from the pipe until it closes; then the process ends at once, even while a trial is running.

    The process has a separate session, so that Ctrl-C in the terminal reaches only the driver.
    """
    os.setsid()
    end_with_parent()
    os.chdir(options.folder)
    if options.gpu is not None:
        os.environ["DLEXP_GPU"] = str(options.gpu)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, received), daemon=True).start()
    build_runner = functools.cache(lambda: pkgutil.resolve_name(options.runner)())
    while True:
        job = decode_job(received.get())

        def report(event: EpochEnded, job: TrialJob = job) -> bool:
            connection.send_bytes(encode_event(event))
            return received.get() == VERDICT[True] if job.waits_for_verdict else True

        connection.send_bytes(encode_event(_run(build_runner, job, report)))


def _run(build_runner: Callable[[], Runner], job: TrialJob, report: Report) -> TrialEnded:
    """Runs one trial; an exception, even when the runner is made, is a failure of the trial."""
    try:
        with printing_to(job.log_path), _printing_tracebacks():
            return build_runner().run(job, report)
    except BaseException as err:  # noqa: BLE001
        return TrialEnded(job.trial.trial, Outcome.FAILED, f"{type(err).__name__}: {err}")


def _read(connection: Connection, received: "queue.SimpleQueue[bytes]") -> None:
    while True:
        try:
            received.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


@contextlib.contextmanager
def _printing_tracebacks() -> Iterator[None]:
    try:
        yield
    except BaseException:
        traceback.print_exc()
        raise
