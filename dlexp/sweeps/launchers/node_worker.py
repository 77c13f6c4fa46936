"""The worker of a cluster launcher on a node: one slot, whose arguments and results are bytes and numbers."""

import contextlib
import os
import socket
from collections.abc import Mapping

from dlexp.sweeps.launchers.local import LocalLauncher
from dlexp.sweeps.launchers.messages import decode_job, encode_event

Answer = tuple[list[bytes], int | None]


class NodeWorker:
    """Runs one trial at a time, in a process that is forked from a server on this node.

    So a trial runs in the main thread of a process, which a signal can ask to stop, and a process that replaces another
    one has already imported TensorFlow.

    Args:
        runner: as for `LocalLauncher`.
        trials_per_worker: as for `LocalLauncher`.
        folder: working directory of trials, if it exists on the node.
        environment: environment variables for trials.
    """

    def __init__(self, runner: str, trials_per_worker: int, folder: str, environment: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder)
        os.environ.update(environment)
        # The cluster shows this process only the GPUs of its slot.
        self._launcher = LocalLauncher(runner, workers=1, trials_per_worker=trials_per_worker, one_gpu_each=False)
        self._trial = 0

    def describe(self) -> str:
        """Returns the name of the machine."""
        return socket.gethostname()

    def start(self, message: bytes) -> Answer:
        """Starts the trial of an encoded job; no other trial may be running."""
        job = decode_job(message)
        self._trial = job.trial.trial
        self._launcher.start(job)
        return self.poll(0.0)

    def poll(self, timeout_s: float) -> Answer:
        """Returns encoded events and the memory of the trial in bytes; waits at most `timeout_s` for an event."""
        events = self._launcher.wait(timeout_s)
        return [encode_event(event) for event in events], self._launcher.memory_bytes(self._trial)

    def answer(self, trial: int, goes_on: bool) -> None:
        """Passes a verdict to the trial."""
        self._launcher.answer(trial, goes_on=goes_on)

    def stop(self, trial: int) -> None:
        """Asks the trial to stop."""
        self._launcher.stop(trial)

    def kill(self, trial: int, reason: str) -> None:
        """Ends the process of the trial."""
        self._launcher.kill(trial, reason)
