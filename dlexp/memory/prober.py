"""Runs probes in separate processes, holds them to the budget, and reads what they report.

A probe is forked from a server that has imported TensorFlow, so that it starts at once, and loads the pages of files
that a process has which imported TensorFlow itself: its memory is that of a training on its own. On a CPU nothing
raises an error when memory runs out, so the prober watches the peak of the process and kills it above the budget.
"""

import contextlib
import dataclasses
import enum
import multiprocessing
import os
import pathlib
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import TrackingConfig
from dlexp.machine.forking import describe_exit, hidden_main
from dlexp.machine.memory import peak_memory_bytes
from dlexp.machine.units import format_bytes, format_seconds
from dlexp.memory.messages import ProbeReport, ProbeRequest, decode, encode

PRELOADED = "dlexp.memory.preload"
_POLL_SECONDS = 0.01
_LAST_LINES = 300  # characters of a probe's output that are shown if it dies


class Outcome(enum.StrEnum):
    """How a probe ended."""

    MEASURED = "measured"
    NO_MEMORY = "no memory"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A probe that has ended.

    Attributes:
        outcome: how it ended.
        peak_bytes: peak memory of the whole run; if memory ran out, as much as it had reached.
        reason: why it did not measure, as a clause; empty if it did.
        report: what it measured; None if it did not.
        seconds: wall-clock time that it took.
    """

    outcome: Outcome
    peak_bytes: int
    reason: str
    report: ProbeReport | None
    seconds: float


@dataclass
class _Running:
    """A probe that runs.

    Attributes:
        process: leads a process group as soon as it has begun.
        connection: to it.
        held_seconds: how long it stood still while others were timed.
        held_since: when it was held, by `time.monotonic`; None if it is not.
    """

    process: ForkServerProcess
    connection: Connection
    held_seconds: float = 0.0
    held_since: float | None = None

    def hold(self) -> None:
        """Makes it stand still."""
        self.held_since = time.monotonic()
        self.signal(signal.SIGSTOP)

    def release(self) -> None:
        """Lets it run again."""
        if self.held_since is not None:
            self.held_seconds += time.monotonic() - self.held_since
        self.held_since = None
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kills the process and all that it has started."""
        self.signal(signal.SIGKILL)
        self.process.kill()  # it may not lead a group yet

    def signal(self, number: int) -> None:
        """Sends a signal to the process and all that it has started."""
        assert self.process.pid is not None  # it was started
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Prober:
    """Measures configs; several threads may call it at once. Use it in a `with` block, whose end kills what runs.

    Args:
        device: `cpu`, `gpu` or `gpu:N`.
        limit_bytes: memory that a probe may use; above it, it is killed.
        time_limit_s: wall-clock time that a probe may take; after it, it is killed.
    """

    def __init__(self, *, device: str, limit_bytes: int, time_limit_s: float) -> None:
        self._device, self._limit_bytes, self._time_limit_s = device, limit_bytes, time_limit_s
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([PRELOADED])
        forkserver.ensure_running()  # it imports while the caller prepares
        self._folder = tempfile.TemporaryDirectory(prefix="dlexp-probes-")
        self._running: list[_Running] = []
        self._starting, self._timing = threading.Lock(), threading.Lock()
        self._count, self._is_closed = 0, False
        self._store = str(pathlib.Path(self._folder.name, "store"))

    def __enter__(self) -> "Prober":
        from dlexp.tracking.mlflow.connection import connect  # imports MLflow

        # Made here, while the server imports: a probe that made it would need 50 MB more than a usual training.
        connect(TrackingConfig(store=self._store))
        return self

    def __exit__(self, *_: Any) -> None:
        with self._starting:
            self._is_closed = True
        for running in list(self._running):
            running.kill()
        while self._running:
            time.sleep(_POLL_SECONDS)  # the threads that call `measure` see the end of their probes
        self._folder.cleanup()

    def measure(
        self, config: ExperimentConfig, *, whole_run: bool, timed_calls: int = 0, limit_bytes: int = 0
    ) -> Probe:
        """Trains a config for a few steps in a new process, and waits for its report.

        Args:
            config: with the batch size to measure.
            whole_run: evaluate and report too.
            timed_calls: how many calls of the train function are timed, while all other probes stand still; 0: none.
            limit_bytes: memory that this probe may use; 0: as all others.
        """
        limit_bytes = limit_bytes or self._limit_bytes
        started = time.monotonic()
        with self._start() as (running, log_path):
            request = ProbeRequest(
                config=config.to_json(),
                folder=os.getcwd(),
                store=self._store,
                log_path=str(log_path),
                device=self._device,
                limit_bytes=limit_bytes,
                whole_run=whole_run,
                timed_calls=timed_calls,
            )
            running.connection.send_bytes(encode("request", request))
            probe = self._watch(running, log_path, limit_bytes)
        return dataclasses.replace(probe, seconds=time.monotonic() - started)

    @contextlib.contextmanager
    def _start(self) -> Iterator[tuple[_Running, pathlib.Path]]:
        ours, theirs = self._context.Pipe()
        with self._timing, self._starting:  # not while others are timed
            if self._is_closed:
                raise RuntimeError("the prober is closed, so it measures nothing more")
            self._count += 1
            log_path = pathlib.Path(self._folder.name, f"{self._count}.log")
            process = self._context.Process(target=_work, args=(theirs,), name="dlexp-probe", daemon=True)
            with hidden_main():
                process.start()
            running = _Running(process, ours)
            self._running.append(running)
        theirs.close()
        try:
            yield running, log_path
        finally:
            running.kill()
            process.join()
            ours.close()
            self._running.remove(running)

    def _watch(self, running: _Running, log_path: pathlib.Path, limit_bytes: int) -> Probe:
        """Reads the messages of a probe until it ends, and kills it if it uses too much memory or time."""
        deadline, peak = time.monotonic() + self._time_limit_s, 0

        def ended(outcome: Outcome, reason: str, report: ProbeReport | None = None) -> Probe:
            reached = report.whole_bytes if report else peak
            return Probe(outcome=outcome, peak_bytes=reached, reason=reason, report=report, seconds=0.0)

        with contextlib.ExitStack() as held:
            while True:
                peak = max(peak, self._peak_of(running))
                if peak > limit_bytes:
                    return ended(Outcome.NO_MEMORY, f"needs more than {format_bytes(limit_bytes)}")
                if running.held_since is None and time.monotonic() > deadline + running.held_seconds:
                    return ended(Outcome.FAILED, f"took longer than {format_seconds(self._time_limit_s)}")
                if not running.connection.poll(_POLL_SECONDS):
                    continue
                try:
                    kind, message = decode(running.connection.recv_bytes())
                except (EOFError, OSError):
                    return ended(*self._explain_death(running, log_path))
                match kind:
                    case "hold":
                        held.enter_context(self._holding_others(running))
                        running.connection.send_bytes(encode("held"))
                    case "release":
                        held.close()
                    case "report":
                        return ended(Outcome.MEASURED, "", ProbeReport(**message))
                    case "no_memory":
                        return ended(Outcome.NO_MEMORY, message)
                    case _:
                        return ended(Outcome.FAILED, message)

    def _peak_of(self, running: _Running) -> int:
        """Peak of the process; on a GPU its host memory is not limited."""
        return 0 if self._device != "cpu" else peak_memory_bytes(running.process.pid) or 0

    @contextlib.contextmanager
    def _holding_others(self, timed: _Running) -> Iterator[None]:
        """Holds all other probes during the block, so that they do not slow down the one that is timed."""
        with self._timing:
            others = [running for running in self._running if running is not timed]
            for running in others:
                running.hold()
            try:
                yield
            finally:
                for running in others:
                    running.release()

    def _explain_death(self, running: _Running, log_path: pathlib.Path) -> tuple[Outcome, str]:
        """What the end of a process without a report means: the kernel kills for memory, malloc aborts for it."""
        running.process.join()
        code = running.process.exitcode
        printed = log_path.read_text(errors="replace").strip() if log_path.exists() else ""
        if code == -signal.SIGKILL or (code == -signal.SIGABRT and "bad_alloc" in printed):
            return Outcome.NO_MEMORY, f"its process {describe_exit(code)}, as happens when memory runs out"
        tail = f": {' '.join(printed[-_LAST_LINES:].split())}" if printed else ""
        return Outcome.FAILED, f"its process {describe_exit(code)}{tail}"


def _work(connection: Connection) -> None:
    from dlexp.memory.probe import work  # imports TensorFlow, which the server has already done

    work(connection)
