"""The worker process of a local launcher: reads jobs from a pipe, runs them, and sends back events."""

import contextlib
import ctypes
import fcntl
import functools
import io
import multiprocessing
import os
import pkgutil
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

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
    _end_with_driver()
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
        with _printing_to(job.log_path), _printing_tracebacks():
            return build_runner().run(job, report)
    except BaseException as err:  # noqa: BLE001
        return TrialEnded(job.trial.trial, Outcome.FAILED, f"{type(err).__name__}: {err}")


def _end_with_driver() -> None:
    """Makes the kernel kill this process group when the driver ends: `_read` cannot run while C code holds the GIL.

    The driver holds the other end of a pipe that nothing is written to: this end becomes readable when it is closed.
    """
    driver = multiprocessing.parent_process()
    if driver is not None and hasattr(fcntl, "F_SETSIG"):  # Linux only; elsewhere `_read` must suffice
        fcntl.fcntl(driver.sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(driver.sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(driver.sentinel, fcntl.F_SETFL, fcntl.fcntl(driver.sentinel, fcntl.F_GETFL) | os.O_ASYNC)


def _read(connection: Connection, received: "queue.SimpleQueue[bytes]") -> None:
    while True:
        try:
            received.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


@contextlib.contextmanager
def _printing_to(path: str) -> Iterator[None]:
    """Appends stdout and stderr, also of C libraries, to a file, line by line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # the last line before a process dies matters most
    _flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(path or os.devnull, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            _flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)


@contextlib.contextmanager
def _printing_tracebacks() -> Iterator[None]:
    try:
        yield
    except BaseException:
        traceback.print_exc()
        raise


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
