"""The result of an experiment, read from its run folder."""

from collections.abc import Mapping
from dataclasses import dataclass

from dlexp.runs.run import Run


@dataclass(frozen=True)
class ExperimentResult:
    """The result of an experiment.

    Attributes:
        run: the run and its folder.
        name: name of the run.
        best_epoch: epoch of the best checkpoint, counted from 1.
        metrics: by name: the metrics of the best epoch, and `test_*` of the best checkpoint on the test split.
        weights_digest: of the best checkpoint; models with equal digests have equal weights.
        seconds: wall-clock time from the call to the end.
    """

    run: Run
    name: str
    best_epoch: int
    metrics: Mapping[str, float]
    weights_digest: str
    seconds: float


def read_result(run: Run, *, seconds: float = 0.0) -> ExperimentResult:
    """Reads the result of a finished run."""
    record = run.record()
    best = record["best_epoch"], record["metrics"], record["weights_digest"]
    return ExperimentResult(run, record["name"], *best, seconds)
