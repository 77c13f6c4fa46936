"""The peak memory of a training: that of the GPU if there is one, otherwise that of the process."""

import contextlib
import itertools
from collections.abc import Iterator

import tensorflow as tf

from dlexp.machine.memory import peak_memory_bytes, reset_peak_memory
from dlexp.runs.run import Run

PROCESS, REUSED_PROCESS, GPU = "process", "process of several runs", "GPU"
_meters_made = itertools.count()


class PeakMeter:
    """Measures a peak that begins when the meter is made; earlier peaks of the same process do not count.

    Memory that the process still has at that moment does count: TensorFlow itself, and in a process that has trained
    before, what TensorFlow keeps of that. On a CPU with oneDNN its allocator returns nothing to the system.
    """

    def __init__(self) -> None:
        self._kind = REUSED_PROCESS if next(_meters_made) else PROCESS
        # Where a reset is not allowed, a peak is known to be of this training only if it is above all earlier ones.
        self._earlier = 0 if reset_peak_memory() else peak_memory_bytes() or 0

    @contextlib.contextmanager
    def recording(self, run: Run) -> Iterator[None]:
        """Records the peak in `run.json` when the block ends, however it ends.

        `peak_memory_bytes` is the peak of what `peak_memory_of` says: "GPU", of the fullest if there are several;
        "process"; or "process of several runs", which may be more than the run needs. A run that is resumed keeps the
        larger peak of its parts of one kind. A peak that is not known is not recorded, nor is that of a process that is
        killed at once.
        """
        gpus = _gpus()
        for gpu in gpus:
            with _ignoring_unknown():
                tf.config.experimental.reset_memory_stats(gpu)
        try:
            yield
        finally:
            kind, peak = (GPU, _gpu_peak(gpus)) if gpus else (self._kind, self._process_peak())
            if peak:
                _record(run, kind, peak)

    def _process_peak(self) -> int:
        """Bytes; 0 if it is not known."""
        peak = peak_memory_bytes() or 0
        return peak if peak > self._earlier else 0


def peak_so_far() -> int:
    """Returns the peak of the fullest GPU, or of this process if there is none, in bytes; 0 if it is not known."""
    gpus = _gpus()
    return _gpu_peak(gpus) if gpus else peak_memory_bytes() or 0


def _gpus() -> list[str]:
    return [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("GPU")]


def _gpu_peak(gpus: list[str]) -> int:
    """Bytes on the fullest GPU; 0 if it is not known."""
    peaks = [0]
    for gpu in gpus:
        with _ignoring_unknown():
            peaks.append(int(tf.config.experimental.get_memory_info(gpu)["peak"]))
    return max(peaks)


def _ignoring_unknown() -> contextlib.suppress:
    """Ignores that TensorFlow keeps no statistics of a device, such as one of a device plug-in."""
    return contextlib.suppress(ValueError, RuntimeError, tf.errors.OpError)


def _record(run: Run, kind: str, peak: int) -> None:
    record = run.record()
    before = record.get("peak_memory_bytes", 0) if record.get("peak_memory_of") == kind else 0
    run.update(peak_memory_bytes=max(before, peak), peak_memory_of=kind)
