"""Shows the largest batches of several models: as a table, as a sentence, as a flagfile, and as advice."""

import datetime
import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.setting import AUTO
from dlexp.config.spelling import flag_text
from dlexp.machine.capacity import count_cores
from dlexp.machine.units import format_bytes
from dlexp.memory.budget import Budget
from dlexp.memory.largest_batch import LargestBatch, common_size, heaviest_of

_VERSIONS = ("dlexp", "tensorflow", "keras", "numpy")
_SMALL_BATCH = 32
_FEW_STEPS = 10


def table_rows(found: Sequence[LargestBatch]) -> list[dict[str, Any]]:
    """Returns a row for each model with numbers, sizes in bytes; the heaviest model comes first."""
    return [
        {
            "model": one.name,
            "parameters": one.num_parameters,
            "batch_size": one.size,
            "peak_bytes": int(one.peak_at(one.size)) if one.size else None,
            "estimated_bytes": one.estimated_bytes,
            "bytes_per_example": int(one.line.bytes_per_example) if one.line else None,
            "images_per_second": one.images_per_second,
            "measured_bytes": {str(size): int(peak) for size, peak in one.peaks().items()},
            "probes": one.num_probes,
            "seconds": round(one.seconds, 1),
            "problem": one.problem,
        }
        for one in ranked(found)
    ]


def table_texts(found: Sequence[LargestBatch]) -> list[dict[str, str]]:
    """Returns the same rows as texts for people."""
    return [
        {
            "model": one.name,
            "parameters": "" if one.num_parameters is None else f"{one.num_parameters:,}",
            "estimate": "" if one.estimated_bytes is None else format_bytes(one.estimated_bytes),
            "measured peaks": ", ".join(f"{format_bytes(int(peak))} at {size}" for size, peak in one.peaks().items()),
            "per example": format_bytes(int(one.line.bytes_per_example)) if one.line else "",
            "batch size": str(one.size or "none"),
            "images/s": "" if one.images_per_second is None else f"{one.images_per_second:,.0f}",
            "probes": str(one.num_probes),
            "seconds": f"{one.seconds:.0f}",
        }
        for one in ranked(found)
    ]


def ranked(found: Sequence[LargestBatch]) -> list[LargestBatch]:
    """Returns the models by the memory that they need for the batch that fits all, the heaviest first.

    Models without a batch come before all others: nothing that was measured fits.
    """
    size = common_size(found) or 1
    without = [one for one in found if one.size is None]
    return without + sorted((one for one in found if one.size), key=lambda one: one.peak_at(size), reverse=True)


def result_sentence(found: Sequence[LargestBatch], budget: Budget) -> str:
    """Returns which model is the heaviest, and the batch size that it sets for all."""
    heaviest, size = heaviest_of(found), common_size(found)
    if heaviest is None or size is None:
        return f"no model has a batch that fits the budget of {budget}"
    peak = format_bytes(int(heaviest.peak_at(size)))
    is_whole = any(one.size == size == one.largest_allowed for one in found)
    limit = "the largest for so few training images, within" if is_whole else "the largest that fits"
    if len(found) == 1:
        return f"{heaviest.name} needs {peak} with a batch of {size}, {limit} the budget of {budget}"
    trained = sum(one.size is not None for one in found)
    return (
        f"{heaviest.name} is the heaviest of {trained} models: it needs {peak} with a batch of {size}, {limit} the "
        f"budget of {budget}"
    )


def problem_lines(found: Sequence[LargestBatch]) -> list[str]:
    """Returns a line for every model without a batch, which says why."""
    return [f"{one.name} has no batch: {one.problem}" for one in found if one.size is None]


def advice_lines(found: Sequence[LargestBatch], base: ExperimentConfig) -> list[str]:
    """Returns what to consider with the batch size that was found: the learning rate, and micro-batches."""
    size = common_size(found)
    if size is None:
        return []
    lines = [*_rate_advice(size, base), *_steps_advice(size, found)]
    small = [one.name for one in found if one.size and one.size < _SMALL_BATCH and one.size != one.largest_allowed]
    if small:
        larger = max(_SMALL_BATCH, *(one.size or 0 for one in found))
        lines.append(
            f"for larger batches of {', '.join(small)}, give --batch_size={larger} --micro_batch_size={size}: a step "
            f"goes through its batch in slices of {size} images, and updates the weights once"
        )
    return lines


def _steps_advice(size: int, found: Sequence[LargestBatch]) -> list[str]:
    fewest = min(one.largest_allowed or size for one in found if one.size is not None)
    if fewest >= _FEW_STEPS * size:
        return []
    return [f"an epoch has few steps of {size} images: for small datasets the largest batch is rarely the best one"]


def _rate_advice(size: int, base: ExperimentConfig) -> list[str]:
    """Scaled learning rates; see https://arxiv.org/abs/1706.02677 (linear), https://arxiv.org/abs/2205.10287 (root)."""
    rate, before = base.optimization.learning_rate, base.data.batch_size
    if before in (size, AUTO):
        return []
    ratio = size / before
    return [
        f"learning rate: {rate:g} at a batch of {before} becomes {rate * ratio:.3g} by linear scaling (SGD), "
        f"{rate * math.sqrt(ratio):.3g} by the square root (Adam); neither is applied: try both"
    ]


def flagfile_text(found: Sequence[LargestBatch], budget: Budget, flags: dict[str, int]) -> str:
    """Returns a flagfile that fixes the batch size; its comments say how it was found."""
    first = found[0].config
    size = flag_text(first.flat()["image_size"]) or "of the dataset"
    models = ", ".join(f"{one.name} {one.size or 'none'}" for one in ranked(found))
    packages = ", ".join(f"{name} {version(name)}" for name in _VERSIONS)
    lines = [
        f"One batch size for all: {result_sentence(found, budget)}.",
        f"Largest batch of every model: {models}.",
        f"Margin: {budget.margin:.0%}. Device: {_device(budget)}.",
        f"Dataset: {first.data.dataset}; image size: {size}; dtype policy: {first.execution.dtype_policy}.",
        *(() if flags == {"batch_size": common_size(found)} else ("Of this batch and smaller ones, the fastest.",)),
        f"Found by dlexp batch-size on {datetime.date.today().isoformat()}, with {packages}, Python "
        f"{platform.python_version()}.",
    ]
    return "\n".join([*(f"# {line}" for line in lines), *(f"--{name}={value}" for name, value in flags.items())]) + "\n"


def _device(budget: Budget) -> str:
    return f"CPU, {count_cores()} cores ({platform.machine()})" if budget.device == "cpu" else budget.device
