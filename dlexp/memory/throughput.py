"""Measures how fast a model trains with other batch sizes and micro-batch sizes: more memory is not always faster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.machine.units import format_bytes
from dlexp.memory.budget import Budget
from dlexp.memory.prober import Prober

_TIMED_CALLS = 4
_BATCHES = 3  # sizes, every one of them half of the next
_SMALLEST = 8


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a model trains.

    Attributes:
        batch_size: examples in a step.
        micro_batch_size: examples that pass through the network at once; 0: all of a step.
        images_per_second: of training, after the first steps.
        peak_bytes: peak memory of the training.
    """

    batch_size: int
    micro_batch_size: int
    images_per_second: float
    peak_bytes: int


def measure_speeds(
    config: ExperimentConfig,
    largest: int,
    budget: Budget,
    *,
    time_limit_s: float,
    report: Callable[[str], None] = lambda line: None,
) -> list[Speed]:
    """Measures a model with its largest batch and with smaller ones, whole and in slices, one after another.

    Args:
        config: of the training.
        largest: the largest batch size to measure.
        budget: the memory that a training may use.
        time_limit_s: wall-clock time that one measurement may take.
        report: called with a line for every measurement.

    Returns:
        The speeds, the fastest first; what could not be measured is left out.
    """
    speeds = []
    with Prober(device=budget.device, limit_bytes=budget.total_bytes, time_limit_s=time_limit_s) as prober:
        for batch, micro in sizes_to_try(largest):
            sized = config.replace(batch_size=batch, micro_batch_size=micro)
            probe = prober.measure(sized, whole_run=False, timed_calls=_TIMED_CALLS)
            what = f"{config.model.model}, batch_size={batch}" + f", micro_batch_size={micro}" * bool(micro)
            if probe.report is None:
                report(f"{what}: {probe.reason}")
                continue
            speed = probe.report.images_per_second
            speeds.append(
                Speed(batch_size=batch, micro_batch_size=micro, images_per_second=speed, peak_bytes=probe.peak_bytes)
            )
            report(f"{what}: {speed:,.0f} images/s, {format_bytes(probe.peak_bytes)}")
    return sorted(speeds, key=lambda speed: speed.images_per_second, reverse=True)


def sizes_to_try(largest: int) -> Iterator[tuple[int, int]]:
    """Yields pairs of a batch size and a micro-batch size, 0 for the whole batch; all sizes are halves of the largest.

    Example:
        >>> list(sizes_to_try(32))
        [(32, 0), (32, 16), (32, 8), (16, 0), (16, 8), (8, 0)]
    """
    for batch in [largest // 2**power for power in range(_BATCHES)]:
        if batch < min(_SMALLEST, largest):
            return
        yield batch, 0
        micro = batch // 2
        while micro >= _SMALLEST:
            yield batch, micro
            micro //= 2
