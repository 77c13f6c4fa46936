"""What both sides of the training benchmark tell of themselves, measured in the same way."""

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
    """Notes when the first step and when each epoch ended.

    Made when the imports are done; to be the last in the list of callbacks, so that an epoch ends after all others.
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
        """Prints, as one line of JSON and as the last thing that the process does, what was measured.

        import_seconds: from the start of the process; first_step_seconds: from the imports to the end of the first
        step; epoch_seconds: median of the epochs but the first, with validation and all that callbacks do; end_seconds:
        from the last epoch to here; total_seconds: of the process; peak_megabytes: of memory.
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
    """VmHWM: unlike `ru_maxrss`, it does not start at what the parent process had."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024 / 1e6
