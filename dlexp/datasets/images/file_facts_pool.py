"""Reads image files in parallel: in threads, or in processes if there are many files on a fast disk.

Threads wait for Python's global lock (GIL) with every file; processes do not, but take a moment to start. The processes
are commands: forks would inherit the threads of TensorFlow, and spawned processes need a `__main__` that can be
imported.
"""

import contextlib
import json
import pathlib
import queue
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dlexp.datasets.images import file_facts
from dlexp.errors import DataError
from dlexp.machine.capacity import count_cores

_WORKER = (sys.executable, "-m", "dlexp.datasets.images.file_facts")
_WORKER_FOLDER = pathlib.Path(__file__).parents[3]  # a worker finds dlexp here, in any working directory
_MANY_FILES = 2000  # from this number on, processes save more time than their start costs, for files of any size
_FIRST_FILES = 64  # read first, to measure how fast the disk is
_CHUNK_FILES = 256  # in one request: enough that a process hardly waits for the next request
_WAITING = 3  # seconds that pass per second of CPU time: above it, many threads are faster than few processes


def read_files(paths: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Reads image files in parallel.

    The rule: fewer than `_MANY_FILES` files are read in threads. More files are read in processes, one per core, unless
    the first files show that most of the time is spent waiting for the disk, as on a network; then in threads, of which
    there are more.

    Args:
        paths: absolute paths.

    Yields:
        What `scan_file` returns for each path, in their order.

    Raises:
        DataError: a process that reads files has died.
    """
    if len(paths) < _MANY_FILES:
        yield from _read_in_threads(paths)
        return
    first = [_read_timed(path) for path in paths[:_FIRST_FILES]]
    yield from (facts for facts, _ in first)
    waits = sum(waited for _, waited in first) > len(first) / 2
    yield from (_read_in_threads if waits else _read_in_processes)(paths[_FIRST_FILES:])


def _read_timed(path: str) -> tuple[tuple[Any, ...], bool]:
    """Returns the facts of a file, and whether reading it took far longer than its CPU time."""
    started_s, started_cpu_s = time.monotonic(), time.thread_time()
    read = file_facts.scan_file(path)
    return read, time.monotonic() - started_s > _WAITING * (time.thread_time() - started_cpu_s)


def _read_in_threads(paths: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    with ThreadPoolExecutor() as pool:
        yield from pool.map(file_facts.scan_file, paths)


def _read_in_processes(paths: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    chunks = [paths[start : start + _CHUNK_FILES] for start in range(0, len(paths), _CHUNK_FILES)]
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(_start_worker()) for _ in range(count_cores())]
        idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for worker in workers:
            idle.put(worker)

        def read(chunk: Sequence[str]) -> list[tuple[Any, ...]]:
            worker = idle.get()
            try:
                return _ask(worker, chunk)
            finally:
                idle.put(worker)

        with ThreadPoolExecutor(len(workers)) as pool:  # each thread waits for a process
            for chunk in pool.map(read, chunks):
                yield from chunk


@contextlib.contextmanager
def _start_worker() -> Iterator[subprocess.Popen[bytes]]:
    # A separate session: Ctrl-C reaches only this process, which then ends the worker.
    process = subprocess.Popen(
        _WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_WORKER_FOLDER, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _ask(worker: subprocess.Popen[bytes], paths: Sequence[str]) -> list[tuple[Any, ...]]:
    """Has a worker read files. Raises DataError if the worker dies."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # the worker has died: readline returns b""
        worker.stdin.write(json.dumps(paths).encode() + b"\n")
        worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer.endswith(b"\n"):
        raise DataError(
            f"the process that reads images ended with exit code {worker.wait()} while it read {len(paths)} files, the "
            f"first of which is {paths[0]!r}: free some memory if it was killed, and start the command again"
        )
    return [tuple(facts) for facts in json.loads(answer)]
