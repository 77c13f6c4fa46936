"""What came out of an experiment, as its run folder tells it."""

from collections.abc import Mapping
from dataclasses import dataclass

from dlexp.runs.run import Run


@dataclass(frozen=True)
class ExperimentResult:
    """What came out of an experiment.

    Attributes:
        run: the run and its folder.
        name: name of the run.
        best_epoch: epoch of the best checkpoint, counted from 1.
        metrics: by name: those of the best epoch, and `test_*` of the best checkpoint on the test split.
        weights_digest: of the best checkpoint; equal digests, equal models.
        seconds: from the call to the end.
    """

    run: Run
    name: str
    best_epoch: int
    metrics: Mapping[str, float]
    weights_digest: str
    seconds: float


def read_result(run: Run, *, seconds: float = 0.0) -> ExperimentResult:
    """The result of a finished run."""
    record = run.record()
    best = record["best_epoch"], record["metrics"], record["weights_digest"]
    return ExperimentResult(run, record["name"], *best, seconds)
