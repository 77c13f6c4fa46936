"""Compares groups of runs: which is better, is that fair, and what would settle it."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dlexp.comparison.entries import class_names, find_entries
from dlexp.comparison.examples import ExampleDifference, compare_examples
from dlexp.comparison.fairness import Disagreement, find_disagreements, read_environment
from dlexp.comparison.groups import Group, group_runs
from dlexp.comparison.predictions import common_right_answers
from dlexp.comparison.seeds import Difference, Mean, difference_of, difference_of_resamples, holm, mean_of
from dlexp.comparison.units import Unit, unit_of
from dlexp.comparison.verdict import Outcome, Verdict, judge, judge_checkpoints
from dlexp.errors import ConfigError, RunNotFoundError, StoreError, unknown_name
from dlexp.machine.json_files import read_json_if_there
from dlexp.runs.run import DESCRIPTION_FILE, Run
from dlexp.runs.store import find_run

_SPLITS = {"val_accuracy": "validation", "test_accuracy": "test"}


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A group of runs in numbers.

    Attributes:
        group: its runs.
        mean: of the metric over its finished runs; None if none has finished.
        started: number of its runs, finished or not, without repeats of the same seed.
    """

    group: Group
    mean: Mean | None
    started: int

    @property
    def ended(self) -> str:
        """How many of its runs have finished: `4 of 5`."""
        return f"{len(self.group.values)} of {self.started}"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A group and the one that it is compared with.

    Attributes:
        a: name of the group.
        b: name of the baseline.
        difference: over seeds, A - B; None if both have one seed.
        checkpoints: on examples, A - B; None if a group has more than one seed, or without predictions.
        adjusted_p: of the difference, by Holm over all pairs; None if there is none.
        verdict: on A.
    """

    a: str
    b: str
    difference: Difference | None
    checkpoints: ExampleDifference | None
    adjusted_p: float | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What `compare_runs` finds.

    Attributes:
        unit: of the metric.
        baseline: name of the group that all others are compared with.
        summaries: of all groups, best mean first.
        pairs: every other group and the baseline, in the order of the summaries.
        disagreements: what makes the comparison unfair, the most important first.
    """

    unit: Unit
    baseline: str
    summaries: Sequence[Summary]
    pairs: Sequence[Pair]
    disagreements: Sequence[Disagreement]

    @property
    def outcome(self) -> Outcome:
        """The outcome of the only pair; undecided if there are several."""
        return self.pairs[0].verdict.outcome if len(self.pairs) == 1 else Outcome.UNDECIDED


def compare_runs(
    references: Sequence[str | pathlib.Path] = (),
    *,
    where: str = "",
    group_by: Sequence[str] = (),
    metric: str = "test_accuracy",
    baseline: str = "",
    margin: float = 0.0,
    store: str | pathlib.Path = "mlruns",
) -> Comparison:
    """Compares runs, or settings that were trained with several seeds.

    Runs that differ only in their seeds are a group. Two groups of one run each are compared on the examples of their
    split; groups over seeds by their means.

    Args:
        references: runs by ID, prefix, name or folder; empty: those of `where`.
        where: pandas query over the columns of `list_runs`.
        group_by: columns that are compared on purpose; empty: all settings that differ.
        metric: a column of `list_runs`; with `:min` or `:max` if dlexp does not know the metric.
        baseline: a group by its name, or a run of it; empty: the group of the first run.
        margin: difference that does not matter, in points (hundredths) for accuracies; 0: every difference does.
        store: folder of the store.

    Raises:
        RunNotFoundError: no run matches.
        ConfigError: a column or the metric is unknown, or the margin is negative.
    """
    unit = unit_of(metric)
    if margin < 0:
        raise ConfigError(f"--margin={margin:g} must be 0 or more: give the difference that does not matter")
    entries = find_entries(references, where=where, store=store)
    _check_same_task([entry.run for entry in entries])
    groups = group_runs(entries, group_by=group_by, metric=unit.metric)
    base = _find_baseline(groups, baseline, store)
    if not base.values:
        raise ConfigError(f"--baseline={baseline} has no finished run with {unit.metric}: give another run or group")
    summaries = sorted(map(_summarize, groups), key=lambda summary: _order(summary, unit))
    others = [summary.group for summary in summaries if summary.group is not base]
    facts = {
        group.name: [{**entry.columns, **read_environment(entry.run)} for entry in group.entries] for group in groups
    }
    return Comparison(
        unit=unit,
        baseline=base.name,
        summaries=summaries,
        pairs=_compare_all([group for group in others if group.values], base, unit, margin),
        disagreements=find_disagreements(facts, compared=set(group_by)),
    )


def _check_same_task(runs: Sequence[Run]) -> None:
    """Raises ConfigError if runs do not have the same classes."""
    first, *others = runs
    classes = class_names(first)
    for run in others:
        if (names := class_names(run)) != classes:
            raise ConfigError(
                f"runs {first.id[:8]} and {run.id[:8]} have other classes ({len(classes)} and {len(names)}), so their "
                "metrics cannot be compared: choose runs of one task with --where"
            )


def _find_baseline(groups: Sequence[Group], baseline: str, store: str | pathlib.Path) -> Group:
    if not baseline:
        return next(group for group in groups if group.values)
    for group in groups:
        if baseline == group.name:
            return group
    try:
        run_id = find_run(baseline, store).id
    except RunNotFoundError:
        raise unknown_name("group", baseline, [group.name for group in groups]) from None
    for group in groups:
        if any(entry.run.id == run_id for entry in group.entries):
            return group
    raise ConfigError(f"--baseline={baseline} is none of the runs that are compared: give one of them, or a group")


def _summarize(group: Group) -> Summary:
    started = {tuple(entry.settings[name] for name in group.repeated) for entry in group.entries}
    mean = mean_of(list(group.values.values())) if group.values else None
    return Summary(group=group, mean=mean, started=len(started))


def _order(summary: Summary, unit: Unit) -> tuple[float, str]:
    if summary.mean is None:
        return float("inf"), summary.group.name
    value = summary.mean.value
    return (value if unit.smaller_is_better else -value), summary.group.name


def _compare_all(groups: Sequence[Group], base: Group, unit: Unit, margin: float) -> list[Pair]:
    differences = {group.name: _difference(group, base, comparisons=len(groups)) for group in groups}
    p_values = {name: found.p for name, found in differences.items() if found is not None and found.p is not None}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [_pair(group, base, differences[group.name], adjusted.get(group.name), unit, margin) for group in groups]


def _difference(group: Group, base: Group, *, comparisons: int) -> Difference | None:
    if len(group.values) == len(base.values) == 1:
        return None
    if group.is_resampled and group.values.keys() & base.values.keys():
        share = _test_share(base.entries[0].run)
        return difference_of_resamples(group.values, base.values, test_share=share, comparisons=comparisons)
    return difference_of(group.values, base.values, comparisons=comparisons)


def _test_share(run: Run) -> float:
    counts: Mapping[str, int] = read_json_if_there(run.path / DESCRIPTION_FILE).get("counts", {})
    return counts.get("test", 0) / max(1, counts.get("train", 0))


def _pair(
    group: Group, base: Group, difference: Difference | None, adjusted_p: float | None, unit: Unit, margin: float
) -> Pair:
    if difference is not None:
        margin /= unit.scale
        verdict = judge(group.name, base.name, difference, unit, margin=margin, adjusted_p=adjusted_p)
        return Pair(
            a=group.name, b=base.name, difference=difference, checkpoints=None, adjusted_p=adjusted_p, verdict=verdict
        )
    checkpoints = None
    if split := _SPLITS.get(unit.metric):
        (a,), (b,) = group.finished.values(), base.finished.values()
        with contextlib.suppress(StoreError):  # a run of an earlier version, or without test, has no predictions
            checkpoints = compare_examples(*common_right_answers(a.run, b.run, split))
    (value,), (of_base_value,) = group.values.values(), base.values.values()
    verdict = judge_checkpoints(group.name, base.name, value - of_base_value, checkpoints, unit)
    return Pair(a=group.name, b=base.name, difference=None, checkpoints=checkpoints, adjusted_p=None, verdict=verdict)
