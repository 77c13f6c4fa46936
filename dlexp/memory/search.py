"""Finds the largest batch that fits into memory, from few probes.

The peak memory of a training is close to a straight line over the batch size: weights, optimizer and libraries, and for
every example its activations. Two batches give the line, the line predicts the largest batch that fits, and one probe
at that size confirms it. If the confirmation is off the line, the search continues from the new point.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dlexp.memory.prober import Outcome, Probe
from dlexp.memory.sizes import Sizes

_FIRST = 8
_SHARE_OF_SECOND = 0.8  # of the memory that the first probe left free: more is slower, less is less exact
_LEAST_SHARE, _MOST_SHARE = 0.7, 1.3  # of the estimated bytes per example: what a measurement is likely to show
_END_BYTES = 28 * 2**20  # of evaluation and report, beyond the training: a guess, until a whole run is measured
_FAR_ENOUGH = 0.8  # of the larger size
_MUCH_LARGER = 1.05
_NOISE = 0.006  # of the memory: two equal probes may differ by this
_MOST_PROBES = 10

Measure = Callable[[int, bool], Probe]


@dataclass(frozen=True)
class Line:
    """Peak memory over the batch size: `fixed_bytes + bytes_per_example * size`."""

    fixed_bytes: float
    bytes_per_example: float

    def at(self, size: float) -> float:
        """Returns the predicted peak in bytes."""
        return self.fixed_bytes + self.bytes_per_example * size

    def largest(self, bytes_: float) -> float:
        """Returns the size whose predicted peak is `bytes_`; infinite if examples take no memory."""
        if self.bytes_per_example <= 0:
            return float("inf") if self.fixed_bytes <= bytes_ else 0.0
        return max(0.0, (bytes_ - self.fixed_bytes) / self.bytes_per_example)


@dataclass
class Search:
    """The search of one model; `run` carries it out.

    Attributes:
        measure: measures a size: the whole run if True, as the size may be chosen, or only the training if False.
        sizes: sizes to choose from.
        usable_bytes: memory that a run may take.
        probes: the probes so far, by size, in their order.
        count: how many probes were made.
        largest: the largest size that is confirmed to fit; None if there is none.
    """

    measure: Measure
    sizes: Sizes
    usable_bytes: float
    probes: dict[int, Probe] = field(default_factory=dict)
    count: int = 0
    largest: int | None = None
    _predicted: dict[int, float] = field(default_factory=dict)  # bytes, by the sizes whose whole run was measured

    def run(self) -> None:
        """Probes until the largest size is confirmed, or until nothing can be measured."""
        first = self.sizes.at_most(_FIRST) or 1
        self._probe(first, whole=first in (1, self._top))
        if self._fits(first):
            self._measure_second(first)
        while self.largest is None and self.count < _MOST_PROBES and (size := self._next()) is not None:
            self._probe(size, whole=True)
            if self._fits(size) and (self._guess() or size) <= _MUCH_LARGER * size:
                self.largest = size
        if self.largest is None:
            self.largest = max(self._confirmed(), default=None)

    @property
    def failure(self) -> str:
        """Why a probe measured nothing, if it was not for memory; empty if that did not happen."""
        return next((probe.reason for probe in self.probes.values() if probe.outcome is Outcome.FAILED), "")

    @property
    def predicted_bytes(self) -> float | None:
        """What the lines predicted for `largest` before it was measured; None if there was no line."""
        return (self._predicted[self.largest] or None) if self.largest else None

    def training_line(self) -> Line | None:
        """The line through the peaks of training; None if nothing was measured."""
        peaks = {size: probe.report.training_bytes for size, probe in sorted(self.probes.items()) if probe.report}
        return _line_through(peaks, self._estimated_slope()) if peaks else None

    @property
    def _top(self) -> int:
        """The largest size of all: it can only be chosen or not, so that its first probe confirms it."""
        return self.sizes.at_most(self.sizes.most) or 1

    def _predict(self, size: float) -> float:
        """The predicted peak of a whole run in bytes; 0 if nothing was measured."""
        return max((line.at(size) for line in self._lines()), default=0.0)

    def _lines(self) -> list[Line]:
        """Lines of the training and of the whole run; the peak is the higher one."""
        training = self.training_line()
        if training is None:
            return []
        reports = {size: self.probes[size].report for size in sorted(self._predicted)}
        whole = {size: report.whole_bytes for size, report in reports.items() if report}
        if not whole:
            return [Line(training.fixed_bytes + _END_BYTES, training.bytes_per_example)]
        return [training, _line_through(whole, training.bytes_per_example)]

    def _measure_second(self, first: int) -> None:
        """Confirms the largest size, if by the estimate there is no doubt; else measures what an example takes."""
        free, slope = self.usable_bytes - self.probes[first].peak_bytes - _END_BYTES, self._estimated_slope()
        if free <= 0:
            return
        likely = self.sizes.at_most(first + free / slope) if slope else None
        if likely is not None and likely > first and _MOST_SHARE * slope * (likely - first) <= free:
            self._probe(likely, whole=True)
            return
        wanted = first + _SHARE_OF_SECOND * free / slope if slope else 8 * first
        size = max(int(min(wanted, self._top)), self.sizes.above(first) or 0)
        if size > first:
            self._probe(size, whole=size == self._top)

    def _next(self) -> int | None:
        """The size to confirm next; None if the largest one that fits is confirmed, or if a probe has failed."""
        if self.failure:
            return None
        too_large = min((size for size in self.probes if not self._fits(size)), default=float("inf"))
        fitting = [size for size in self.probes if size < too_large]
        if not fitting:
            return None if 1 in self.probes else 1
        known = self.sizes.at_most(max(fitting)) or 1
        size = self._guess() or known
        if too_large <= size or (too_large in self.probes and not self.probes[int(too_large)].report):
            # The line is wrong, or a probe that was killed has added nothing to it.
            size = min(size, self.sizes.between(known, int(too_large)) or known)
        size = max([size, *self._confirmed()])
        return None if size in self._predicted else size

    def _guess(self) -> int | None:
        """The largest size that fits by the lines; more memory stays free after every confirmation that failed."""
        failed = len(self._predicted) - len(self._confirmed())
        usable = (1 - _NOISE * 2**failed) * self.usable_bytes
        return self.sizes.at_most(min(line.largest(usable) for line in self._lines()))

    def _confirmed(self) -> list[int]:
        """The sizes that may be chosen."""
        return [size for size in self._predicted if self._fits(size)]

    def _probe(self, size: int, *, whole: bool) -> None:
        if whole:
            self._predicted[size] = self._predict(size)
        self.probes[size] = self.measure(size, whole)
        self.count += 1

    def _fits(self, size: int) -> bool:
        probe = self.probes[size]
        return probe.outcome is Outcome.MEASURED and probe.peak_bytes <= self.usable_bytes

    def _estimated_slope(self) -> int:
        reports = [probe.report for probe in self.probes.values() if probe.report is not None]
        return reports[0].estimated_bytes_per_example if reports else 0


def _line_through(peaks: Mapping[int, int], expected_slope: float) -> Line:
    """The line through the largest size and the next one that is not close to it; of close ones, noise is the slope.

    What is expected is the slope if there is no other size, and limits that of two: the peak of a small batch may be
    that of a step between two epochs, such as the writing of a checkpoint, and two sizes cannot show that.
    """
    *smaller, size = peaks
    other = max((one for one in smaller if one <= _FAR_ENOUGH * size), default=None)
    slope = expected_slope if other is None else (peaks[size] - peaks[other]) / (size - other)
    if len(smaller) < 2:
        slope = max(slope, _LEAST_SHARE * expected_slope)
    return Line(peaks[size] - slope * size, slope)
