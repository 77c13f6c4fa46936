"""The process of a local launcher that runs trials: reads jobs from a pipe, and sends back what becomes of them."""

import contextlib
import os
import pkgutil
import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

from dlexp.sweeps.launchers.base import EpochEnded, Runner, TrialJob
from dlexp.sweeps.launchers.messages import decode_job, encode_event

VERDICT = {True: b"goes on", False: b"is given up"}


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker begins.

    Attributes:
        runner: `module:name` of a class without arguments that makes a `Runner`.
        slot: from 0 on, different for workers that live at the same time; the GPU that the worker uses, where there are
            GPUs.
        folder: working directory, which paths in configs may start from.
    """

    runner: str
    slot: int
    folder: str


def work(connection: Connection, options: WorkerOptions) -> None:
    """Runs the jobs that come out of the pipe, until it closes: then the process ends at once, in the midst of one too.

    It has a session of its own, so that a Ctrl-C in the terminal reaches the driver alone.
    """
    os.setsid()
    os.chdir(options.folder)
    os.environ["DLEXP_WORKER_SLOT"] = str(options.slot)
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, received), daemon=True).start()
    runner: Runner = pkgutil.resolve_name(options.runner)()
    while True:
        job = decode_job(received.get())

        def report(event: EpochEnded, job: TrialJob = job) -> bool:
            connection.send_bytes(encode_event(event))
            return received.get() == VERDICT[True] if job.waits_for_verdict else True

        with _printing_to(job.log_path):
            ended = runner.run(job, report)
        connection.send_bytes(encode_event(ended))


def _read(connection: Connection, received: "queue.SimpleQueue[bytes]") -> None:
    while True:
        try:
            received.put(connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)


@contextlib.contextmanager
def _printing_to(path: str) -> Iterator[None]:
    """Sends stdout and stderr, those of C libraries too, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with open(path or os.devnull, "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
