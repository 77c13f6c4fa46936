"""What a launcher of a cluster has on a node: one slot there, whose calls and answers are bytes and numbers."""

import contextlib
import os
import socket
from collections.abc import Mapping

from dlexp.sweeps.launchers.local import LocalLauncher
from dlexp.sweeps.launchers.messages import decode_job, encode_event

Answer = tuple[list[bytes], int | None]


class NodeWorker:
    """Runs one trial at a time, in a process that is forked from this one's server.

    So a trial has the main thread of a process to itself, where it is asked to stop by a signal; and a process that
    replaces another has TensorFlow imported already.

    Args:
        runner: as `LocalLauncher` takes it.
        trials_per_worker: as `LocalLauncher` takes it.
        folder: working directory of trials, where the node has it.
        environment: variables for trials.
    """

    def __init__(self, runner: str, trials_per_worker: int, folder: str, environment: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        os.environ.update(environment)
        # The cluster shows this process the GPUs of its slot alone.
        self._launcher = LocalLauncher(runner, workers=1, trials_per_worker=trials_per_worker, one_gpu_each=False)
        self._trial = 0

    def describe(self) -> str:
        """The name of the machine."""
        return socket.gethostname()

    def start(self, message: bytes) -> Answer:
        """Starts the trial of an encoded job; there must be none that runs."""
        job = decode_job(message)
        self._trial = job.trial.trial
        self._launcher.start(job)
        return self.poll(0.0)

    def poll(self, timeout_s: float) -> Answer:
        """Encoded events, and the memory in bytes that the trial holds; waits for an event, `timeout_s` at the most."""
        events = self._launcher.wait(timeout_s)
        return [encode_event(event) for event in events], self._launcher.memory_bytes(self._trial)

    def answer(self, trial: int, goes_on: bool) -> None:
        """Passes a verdict on."""
        self._launcher.answer(trial, goes_on=goes_on)

    def stop(self, trial: int) -> None:
        """Asks the trial to stop."""
        self._launcher.stop(trial)

    def kill(self, trial: int, reason: str) -> None:
        """Ends the trial's process."""
        self._launcher.kill(trial, reason)
