"""A step in micro-batches, against the same step on the whole batch: speed and memory."""

import functools
import sys
from collections.abc import Mapping

from tests.benchmarks.measuring import Row, interleave, process_report

# One network with batch normalisation, and one without.
_MODELS = ("resnet20", "vit_tiny")
_SIZES = (128, 64, 32, 16, 8)
_BATCH_SIZE, _SIDE, _REPEATS = 256, 32, 2
_PEER = "whole batch"


def measure(folder: str) -> list[Row]:
    """Takes a few steps with each size of micro-batches, each time in a fresh process.

    Args:
        folder: not used.
    """
    return [row for model in _MODELS for row in _compare(model)]


def _compare(model: str) -> list[Row]:
    sides = {str(size): functools.partial(_take_steps, model, size) for size in (0, *_SIZES)}
    reports = interleave(sides, repeats=_REPEATS)
    speeds = {size: max(report["images_per_second"] for report in side) for size, side in reports.items()}
    peaks = {size: max(report["megabytes"] for report in side) for size, side in reports.items()}
    what = f"{model}, batch of {_BATCH_SIZE} at {_SIDE}x{_SIDE}"
    return [
        Row(f"{what} in slices of {size}: {unit}", figures[size], figures["0"], _PEER, digits=0)
        for unit, figures in (("images/s", speeds), ("memory of a step, MB", peaks))
        for size in map(str, _SIZES)
    ]


def _take_steps(model: str, size: int) -> Mapping[str, float]:
    words = (f"--model={model}", f"--batch_size={_BATCH_SIZE}", f"--micro_batch_size={size}")
    return process_report(
        [sys.executable, "-m", "tests.benchmarks.micro_batch_steps", *words, f"--image_size={_SIDE},{_SIDE}"]
    )
