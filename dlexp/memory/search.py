"""Finds the largest batch that fits into memory, from few probes.

The peak memory of a training is close to a straight line over the batch size: weights, optimizer and libraries, and for
every example its activations. Two small batches give the line, the line predicts the largest batch that fits, and one
probe at that size confirms it. If the confirmation is off the line, the search continues from the new point.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dlexp.memory.messages import ProbeReport
from dlexp.memory.prober import Outcome, Probe
from dlexp.memory.sizes import Sizes

_FIRST = 8
_SHARE_OF_SECOND = 0.3  # of the memory that the first probe left free: more is slower, less is less exact
_LEAST_SHARE = 0.7  # of the estimated bytes per example, which is rather too low than too high
_FAR_ENOUGH = 0.8  # of the size; of closer ones, noise makes the slope
_MUCH_LARGER = 1.05
_NOISE = 0.005  # of the memory: by so much two equal probes may differ
_MOST_PROBES = 10


class Purpose(enum.Enum):
    """What a size is probed for."""

    FIRST = "a point of the lines of training and of the whole run"
    SECOND = "a point of the line of training"
    CONFIRMATION = "the size may be chosen, so that all must be as in a real training"


Measure = Callable[[int, Purpose], Probe]


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
        measure: measures a size.
        sizes: sizes to choose from.
        usable_bytes: memory that a run may take.
        probes: the probes so far, by size, in their order.
        largest: the largest size that is confirmed to fit; None if there is none.
        predicted_bytes: what the line predicted for `largest` before it was confirmed.
    """

    measure: Measure
    sizes: Sizes
    usable_bytes: float
    probes: dict[int, Probe] = field(default_factory=dict)
    count: int = 0
    largest: int | None = None
    predicted_bytes: float = 0.0
    _whole: set[int] = field(default_factory=set)
    _confirmed: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Probes until the largest size is confirmed, or until nothing can be measured."""
        if not self._measure_small():
            return
        self._measure_second()
        while self.largest is None and self.count < _MOST_PROBES and (size := self._next()) is not None:
            self._confirm(size)
        if self.largest is None:
            self.largest = max(filter(self._fits, self._confirmed), default=None)

    @property
    def failure(self) -> str:
        """Why a probe measured nothing, if it was not for memory; empty if that did not happen."""
        return next((probe.reason for probe in self.probes.values() if probe.outcome is Outcome.FAILED), "")

    def predict(self, size: float) -> float:
        """Returns the predicted peak of a whole run in bytes; 0 if nothing was measured."""
        return max((line.at(size) for line in self._lines()), default=0.0)

    def training_line(self) -> Line | None:
        """The line through the peaks of training; None if nothing was measured."""
        measured = [size for size, probe in sorted(self.probes.items()) if probe.report is not None]
        peaks = {size: self._report(size).training_bytes for size in measured}
        return _line_through(peaks, least_slope=_LEAST_SHARE * self._estimated_slope())

    def _lines(self) -> list[Line]:
        """Lines of the training and of the whole run; the peak is the higher one."""
        training = self.training_line()
        whole = {size: self._report(size).whole_bytes for size in sorted(self._whole) if self.probes[size].report}
        if training is None or not whole:
            return [line for line in [training] if line]
        of_whole = _line_through(whole, least_slope=0.0 if len(whole) > 1 else training.bytes_per_example)
        return [training] if of_whole is None else [training, of_whole]

    def _measure_small(self) -> bool:
        """Measures a small batch, or one example if that does not fit; returns whether one was measured that fits."""
        for size in sorted({self.sizes.at_most(_FIRST) or 1, 1}, reverse=True):
            self._probe(size, self._purpose(size, Purpose.FIRST))
            if self.probes[size].outcome is Outcome.FAILED:
                return False
            if self._fits(size):
                return True
        return False

    def _measure_second(self) -> None:
        """Measures a batch that is large enough to show what an example takes."""
        small, top = max(filter(self._fits, self.probes)), self.sizes.at_most(self.sizes.most) or 1
        free, slope = self.usable_bytes - self.probes[small].peak_bytes, self._estimated_slope()
        wanted = small + _SHARE_OF_SECOND * free / slope if slope else 8 * small
        size = max(int(min(wanted, top, self._too_large() - 1)), self.sizes.above(small) or 0)
        if small < size < self._too_large():
            self._probe(size, self._purpose(size, Purpose.SECOND))

    def _next(self) -> int | None:
        """The size to confirm next; None if the largest one that fits is confirmed, or if a probe has failed."""
        if self.failure or not self._lines():
            return None
        known, too_large = max(filter(self._fits, self.probes), default=None), self._too_large()
        if known is None:
            return None
        size = self._guess() or known
        if size >= too_large:
            size = self.sizes.between(known, int(too_large)) or known
        size = max(size, known)
        return None if size in self._confirmed else size

    def _guess(self) -> int | None:
        """The largest size that fits by the lines."""
        return self.sizes.at_most(min(line.largest((1 - _NOISE) * self.usable_bytes) for line in self._lines()))

    def _confirm(self, size: int) -> None:
        """Measures the whole run at a size; accepts it if it fits and no much larger size seems to fit."""
        predicted = self.predict(size)
        self._probe(size, Purpose.CONFIRMATION)
        if self._fits(size) and (self._guess() or size) <= _MUCH_LARGER * size:
            self.largest, self.predicted_bytes = size, predicted

    def _purpose(self, size: int, otherwise: Purpose) -> Purpose:
        """The largest size of all can only be chosen or not: its first probe confirms it."""
        return Purpose.CONFIRMATION if size == self.sizes.at_most(self.sizes.most) else otherwise

    def _probe(self, size: int, purpose: Purpose) -> None:
        self.count += 1
        self.probes[size] = self.measure(size, purpose)
        if purpose is not Purpose.SECOND:
            self._whole.add(size)
        if purpose is Purpose.CONFIRMATION:
            self._confirmed.add(size)

    def _fits(self, size: int) -> bool:
        probe = self.probes[size]
        return probe.outcome is Outcome.MEASURED and probe.peak_bytes <= self.usable_bytes

    def _too_large(self) -> float:
        return min((size for size in self.probes if not self._fits(size)), default=float("inf"))

    def _report(self, size: int) -> ProbeReport:
        report = self.probes[size].report
        assert report is not None  # only measured sizes are asked for
        return report

    def _estimated_slope(self) -> int:
        reports = [probe.report for probe in self.probes.values() if probe.report is not None]
        return reports[0].estimated_bytes_per_example if reports else 0


def _line_through(peaks: Mapping[int, int], *, least_slope: float) -> Line | None:
    """The line through the largest size and the next one that is not close to it.

    It is at least as steep as given if there are no more than two sizes: the peak of a small batch may be that of a
    step between two epochs, such as the writing of a checkpoint, and two sizes cannot show that.
    """
    if not peaks:
        return None
    *smaller, size = peaks
    slope = least_slope
    if smaller:
        other = max((one for one in smaller if one <= _FAR_ENOUGH * size), default=smaller[-1])
        slope = (peaks[size] - peaks[other]) / (size - other)
    if len(peaks) == 2:
        slope = max(slope, least_slope)
    return Line(peaks[size] - slope * size, slope)
