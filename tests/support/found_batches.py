"""Results of a search for batch sizes, made up: the memory of every model is a line."""

from typing import Any

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory.budget import Budget
from dlexp.memory.largest_batch import LargestBatch
from dlexp.memory.messages import ProbeReport
from dlexp.memory.prober import Outcome, Probe
from dlexp.memory.search import Line

MIB = 2**20
BUDGET = Budget(device="cpu", total_bytes=1024 * MIB, margin=0.1, origin="as given")


def report_of(training_bytes: int, **values: Any) -> ProbeReport:
    """What a probe reports; by default its whole run needs no more than its training."""
    return ProbeReport(
        **{
            "training_bytes": training_bytes,
            "whole_bytes": training_bytes,
            "is_training_only": False,
            "images_per_second": 100.0,
            "num_parameters": 1234,
            "estimated_bytes": 74 * MIB,
            "estimated_bytes_per_example": MIB,
        }
        | values
    )


def measured(training_bytes: int, **values: Any) -> Probe:
    """A probe that has measured."""
    report = report_of(training_bytes, **values)
    return Probe(outcome=Outcome.MEASURED, peak_bytes=report.whole_bytes, reason="", report=report, seconds=1.0)


def not_measured(outcome: Outcome, reason: str, *, peak_bytes: int = 0) -> Probe:
    """A probe that has not measured."""
    return Probe(outcome=outcome, peak_bytes=peak_bytes, reason=reason, report=None, seconds=1.0)


def found_batch(
    name: str, size: int | None, *, fixed: int = 100, slope: float = 1.0, smallest: int = 8, **values: Any
) -> LargestBatch:
    """A model with the batch `size`, and a peak of `fixed + slope * batch` MiB; without a size, nothing is measured."""
    line = Line(fixed * MIB, slope * MIB)
    given: dict[str, Any] = {
        "config": ExperimentConfig.of(model="mlp"),
        "problem": "" if size else f"one example of {name} needs too much",
        "probes": {one: measured(int(line.at(one))) for one in (smallest, size) if one} if size else {},
        "line": line if size else None,
        "predicted_bytes": None,
        "unmeasured_bytes": 0,
        "largest_allowed": 4096,
        "num_probes": 3 if size else 4,
        "seconds": 12.34,
    }
    return LargestBatch(name=name, size=size, **given | values)
