"""The clock of both sides of the training benchmark."""

import itertools
import json
import os
import pathlib
import re
import statistics
import time
from collections.abc import Mapping
from typing import Any

import keras


class Clock(keras.callbacks.Callback):
    """Records the end of the first step and of every epoch.

    Make it right after the imports. It must be the last callback, so that an epoch ends after all other callbacks.
    """

    def __init__(self) -> None:
        super().__init__()
        self._started = float(os.environ["BENCH_STARTED"])
        self._imported = time.time()
        self._first_step = 0.0
        self._epoch_ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._first_step = self._first_step or time.time()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._epoch_ends.append(time.time())

    def print_report(self) -> None:
        """Prints the measurements as one line of JSON; call it at the end of the process.

        import_seconds: from the start of the process; first_step_seconds: from the imports to the end of the first
        step; epoch_seconds: median of all epochs except the first, including validation and callbacks; end_seconds:
        from the last epoch to this call; total_seconds: of the process; peak_megabytes: peak memory.
        """
        epochs = [end - start for start, end in itertools.pairwise(self._epoch_ends)]
        report = {
            "import_seconds": self._imported - self._started,
            "first_step_seconds": self._first_step - self._imported,
            "epoch_seconds": statistics.median(epochs),
            "end_seconds": time.time() - self._epoch_ends[-1],
            "total_seconds": time.time() - self._started,
            "peak_megabytes": _peak_megabytes(),
        }
        print(json.dumps(report))


def _peak_megabytes() -> float:
    """Returns VmHWM: unlike `ru_maxrss`, it does not include the memory of the parent process."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6
