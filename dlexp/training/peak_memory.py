"""The peak memory of a training: that of the GPU if there is one, otherwise that of the process."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from dlexp.machine.memory import peak_memory_bytes, reset_peak_memory
from dlexp.runs.run import Run

PROCESS, GPU = "process", "GPU"


class PeakMeter:
    """Measures a peak that begins when the meter is made; earlier trainings of the same process do not count.

    Memory that the process still has at that moment does count, such as TensorFlow itself.
    """

    def __init__(self) -> None:
        # Where a reset is not allowed, a peak is known to be of this training only if it is above all earlier ones.
        self._earlier = 0 if reset_peak_memory() else peak_memory_bytes() or 0

    @contextlib.contextmanager
    def recording(self, run: Run) -> Iterator[None]:
        """Records the peak in `run.json` when the block ends, however it ends.

        `peak_memory_of` is GPU or process, and `peak_memory_bytes` is the peak of it: of the fullest GPU if there are
        several. A run that is resumed keeps the larger peak of its parts. A peak that is not known is not recorded.
        A process that is killed at once records nothing.
        """
        gpus = _gpus()
        for gpu in gpus:
            with _ignoring_unknown():
                tf.config.experimental.reset_memory_stats(gpu)
        try:
            yield
        finally:
            kind, peak = (GPU, _gpu_peak(gpus)) if gpus else (PROCESS, self._process_peak())
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
