"""Finds the largest batch of each of several models, and with it the heaviest model."""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dlexp.checkpoints.search import find_referenced
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset, open_dataset
from dlexp.errors import DlexpError
from dlexp.machine.capacity import available_memory_bytes, count_cores
from dlexp.machine.units import format_bytes
from dlexp.memory.budget import CPU, Budget
from dlexp.memory.prober import Outcome, Probe, Prober
from dlexp.memory.search import Line, Search
from dlexp.memory.sizes import Sizes
from dlexp.memory.unmeasured import unmeasured_bytes
from dlexp.runs.preflight import check_names
from dlexp.runs.recipe import resolve_recipe

_MOST_AT_ONCE = 2
_TIMED_CALLS = 2
_WAYS_OUT = (
    "micro-batches have one example at least and do not help: raise the budget, give a smaller --image_size, or leave "
    "the model out"
)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that will be trained.

    Attributes:
        name: of the model, for tables.
        config: of its training; `batch_size` is what is looked for.
    """

    name: str
    config: ExperimentConfig


@dataclass(frozen=True, kw_only=True)
class LargestBatch:
    """The largest batch of a model, and how it was found.

    Attributes:
        name: of the model.
        config: of its training.
        size: the largest batch size that fits; None if there is none.
        problem: why there is none, as a clause; empty if there is one.
        probes: what was measured, by batch size.
        line: of the peak memory of training over the batch size; None if nothing was measured.
        predicted_bytes: what the line predicted for `size` before it was measured; None if there was no line.
        unmeasured_bytes: what a training needs beyond what the probes saw, see `unmeasured_bytes`.
        largest_allowed: the largest batch size that was to choose from, by the number of training examples.
        num_probes: how many probes were made.
        seconds: wall-clock time of the search.
    """

    name: str
    config: ExperimentConfig
    size: int | None
    problem: str
    probes: Mapping[int, Probe]
    line: Line | None
    predicted_bytes: float | None
    unmeasured_bytes: int
    largest_allowed: int | None
    num_probes: int
    seconds: float

    @property
    def num_parameters(self) -> int | None:
        """Parameters of the model; None if it was not built."""
        return next((probe.report.num_parameters for probe in self.probes.values() if probe.report), None)

    @property
    def estimated_bytes(self) -> int | None:
        """The analytic estimate at `size`; None if there is none."""
        report = self.probes[self.size].report if self.size else None
        return report.estimated_bytes if report else None

    @property
    def images_per_second(self) -> float | None:
        """Speed of training at `size`; None if there is none, or if it was too short to be timed."""
        report = self.probes[self.size].report if self.size else None
        return (report.images_per_second or None) if report else None

    def peaks(self) -> dict[int, float]:
        """Returns the peak memory of the whole run by the batch sizes that were probed, in bytes, smallest size first.

        Where only the training was probed, the rest is added as the smallest whole run shows it.
        """
        reports = {size: probe.report for size, probe in sorted(self.probes.items()) if probe.report}
        whole = next((report for report in reports.values() if not report.is_training_only), None)
        end = whole.whole_bytes - whole.training_bytes if whole else 0
        return {
            size: self.unmeasured_bytes + max(report.whole_bytes, report.training_bytes + end * report.is_training_only)
            for size, report in reports.items()
        }

    def peak_at(self, size: float) -> float:
        """Returns the peak memory of a run at a batch size, in bytes.

        Between the sizes that were probed it is interpolated, beyond them it follows the line.
        """
        peaks, slope = self.peaks(), self.line.bytes_per_example if self.line else 0.0
        if not peaks:
            return float("inf")
        first, *_, last = [*peaks, *peaks]
        if first <= size <= last:
            return float(np.interp(size, list(peaks), list(peaks.values())))
        nearest = first if size < first else last
        return peaks[nearest] + slope * (size - nearest)


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How the search is carried out.

    Attributes:
        multiple_of: see `Sizes`.
        time_limit_s: wall-clock time that a probe may take.
        field: the field that is looked for: `batch_size`, or `micro_batch_size` within a batch size that is given.
    """

    multiple_of: int = 0
    time_limit_s: float = 600.0
    field: str = "batch_size"


def find_largest_batches(
    candidates: Sequence[Candidate],
    budget: Budget,
    settings: SearchSettings,
    *,
    report: Callable[[str], None] = lambda line: None,
) -> list[LargestBatch]:
    """Finds the largest batch of each candidate by short trainings in separate processes.

    Args:
        candidates: the models.
        budget: the memory that a training may use.
        settings: how to search.
        report: called with a line for every probe that has ended; from several threads.

    Returns:
        The results, in the order of the candidates; a candidate that cannot be trained has a `problem`.
    """
    open_once = functools.cache(open_dataset)
    opening = threading.Lock()

    def find(candidate: Candidate) -> LargestBatch:
        started = time.monotonic()
        try:
            with opening:  # a plug-in is imported, and a dataset opened, by one thread at a time
                check_names(candidate.config)
                config = with_own_paths(resolve_recipe(candidate.config))
                dataset = open_once(config.data)
        except DlexpError as err:
            return _without_probes(candidate, str(err))
        found = _search(dataclasses.replace(candidate, config=config), dataset, budget, settings, prober, report)
        return dataclasses.replace(found, seconds=time.monotonic() - started)

    with (
        ThreadPoolExecutor(_count_at_once(budget)) as pool,  # its end waits for all threads, so that of probes is first
        Prober(device=budget.device, limit_bytes=budget.total_bytes, time_limit_s=settings.time_limit_s) as prober,
    ):
        return list(pool.map(find, candidates))


def common_size(found: Sequence[LargestBatch]) -> int | None:
    """Returns the largest batch size that fits all models which have one; None if none has."""
    return min((one.size for one in found if one.size), default=None)


def heaviest_of(found: Sequence[LargestBatch]) -> LargestBatch | None:
    """Returns the model that needs the most memory for the batch that fits all; None if no model has a batch."""
    size = common_size(found)
    if size is None:
        return None
    return max((one for one in found if one.size), key=lambda one: one.peak_at(size))


def with_own_paths(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config with the path of its initial checkpoint, which probes cannot look up in another store."""
    reference = config.model.init_checkpoint
    if not reference:
        return config
    return config.replace(init_checkpoint=str(find_referenced(reference, config.tracking.store).resolve()))


def _search(
    candidate: Candidate,
    dataset: Dataset,
    budget: Budget,
    settings: SearchSettings,
    prober: Prober,
    report: Callable[[str], None],
) -> LargestBatch:
    config = candidate.config
    most = dataset.count("train") if settings.field == "batch_size" else config.data.batch_size

    def measure(size: int, whole: bool) -> Probe:
        # A number that was given need not divide the steps of every batch. Small batches take one step per call, as
        # auto chooses it for the largest one, so that they are on its line.
        sized = config.replace(**{settings.field: size, "steps_per_execution": "auto" if whole else "1"})
        # One example is measured also above the budget, so that a refusal can say by how much it is too small.
        limit = (available_memory_bytes() or 0) if size == 1 and budget.device == CPU else 0
        probe = prober.measure(sized, whole_run=whole, timed_calls=_TIMED_CALLS * whole, limit_bytes=limit)
        report(_describe(candidate.name, size, probe, settings))
        return probe

    # The largest batch has the fewest examples that are not measured: for any other, this is a little too much.
    unmeasured = unmeasured_bytes(config, dataset)
    sizes = Sizes(most=most, multiple_of=settings.multiple_of)
    search = Search(measure, sizes, budget.usable_bytes - unmeasured)
    search.run()
    problem = ""
    if search.largest is None:
        problem = search.failure or _explain(search, budget, unmeasured)
    return LargestBatch(
        name=candidate.name,
        config=config,
        size=search.largest,
        problem=problem,
        probes=search.probes,
        line=search.training_line(),
        predicted_bytes=search.predicted_bytes + unmeasured if search.predicted_bytes else None,
        unmeasured_bytes=unmeasured,
        largest_allowed=sizes.at_most(most),
        num_probes=search.count,
        seconds=0.0,
    )


def _explain(search: Search, budget: Budget, unmeasured: int) -> str:
    """Why no batch fits, and by how much."""
    probe = search.probes.get(1)
    if probe is None or probe.outcome is Outcome.FAILED:
        return f"no batch could be confirmed in {search.count} probes"
    limit = f"the {format_bytes(budget.usable_bytes)} of the budget without its margin"
    if not probe.report:
        return f"one example needs more than {limit}; {_WAYS_OUT}"
    needed = probe.peak_bytes + unmeasured
    excess = format_bytes(needed - budget.usable_bytes)
    return f"one example needs {format_bytes(needed)}, {excess} more than {limit}; {_WAYS_OUT}"


def _describe(name: str, size: int, probe: Probe, settings: SearchSettings) -> str:
    what = f"{name}, {settings.field}={size}"
    if probe.outcome is Outcome.MEASURED:
        part = " in training" if probe.report and probe.report.is_training_only else ""
        return f"{what}: {format_bytes(probe.peak_bytes)}{part} ({probe.seconds:.0f} s)"
    return f"{what}: {probe.reason} ({probe.seconds:.0f} s)"


def _without_probes(candidate: Candidate, problem: str) -> LargestBatch:
    return LargestBatch(
        name=candidate.name,
        config=candidate.config,
        size=None,
        problem=problem,
        probes={},
        line=None,
        predicted_bytes=None,
        unmeasured_bytes=0,
        largest_allowed=None,
        num_probes=0,
        seconds=0.0,
    )


def _count_at_once(budget: Budget) -> int:
    """How many probes may run at once: one on a GPU, else two, if the machine has memory and cores for both."""
    if budget.device != CPU:
        return 1
    fitting = (available_memory_bytes() or 0) // max(budget.total_bytes, 1)
    return max(1, min(_MOST_AT_ONCE, count_cores(), fitting))
