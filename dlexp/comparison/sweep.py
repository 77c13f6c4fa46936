"""What a sweep shows: its winner, how much of the winner's score is luck, and which settings cannot be told from it."""

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dlexp.comparison.entries import find_entries
from dlexp.comparison.examples import mcnemar_p
from dlexp.comparison.groups import Group, group_runs
from dlexp.comparison.predictions import right_answers
from dlexp.comparison.seeds import LEAST_FOR_INTERVAL, Mean, difference_of, holm, mean_of
from dlexp.comparison.selection import Selection, bootstrap_selection
from dlexp.comparison.units import Unit, unit_of
from dlexp.errors import RunNotFoundError, StoreError
from dlexp.evaluation.intervals import CONFIDENCE, Share, share_with_interval

_METRIC, _TEST_METRIC = "val_accuracy", "test_accuracy"
_SOME = 0.01  # of the resamples


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A setting of a sweep.

    Attributes:
        group: its runs.
        validation: mean of the validation metric over its finished seeds.
        win_share: share of the resamples of the validation examples that it wins; None without predictions.
        adjusted_p: of its difference to the winner, by Holm over all settings; None for the winner, or if unknown.
    """

    group: Group
    validation: Mean
    win_share: float | None
    adjusted_p: float | None

    @property
    def is_separable(self) -> bool:
        """Whether the setting can be told from the winner."""
        return self.adjusted_p is not None and self.adjusted_p < 1 - CONFIDENCE


@dataclass(frozen=True, kw_only=True)
class SweepAnalysis:
    """What `analyze_sweep` finds.

    Attributes:
        name: of the sweep.
        unit: of the metric on validation that chose the winner.
        standings: all settings with a finished run, best first.
        selection: how lucky the winner is; None without predictions of every setting.
        test: the score of the winner on the test split, looked at once: a share with its interval for one seed, the
            mean over several; None if it was not measured.
        unfinished: number of runs without a result.
    """

    name: str
    unit: Unit
    standings: Sequence[Standing]
    selection: Selection | None
    test: Share | Mean | None
    unfinished: int

    @property
    def inseparable(self) -> list[Standing]:
        """The settings that cannot be told from the winner, which is not among them."""
        return [standing for standing in self.standings[1:] if not standing.is_separable]

    def sentences(self) -> list[str]:
        """Describes the winner, its luck, its rivals and what to do, for people."""
        winner, unit = self.standings[0], self.unit
        found = (
            f"best of {len(self.standings)} settings: {winner.group.name}, {unit.metric} {winner.validation.value:.4f}"
        )
        if self.selection is not None:
            luck = unit.spell_difference(max(0.0, self.selection.optimism))
            found += f", of which about {luck} are luck (corrected: {self.selection.corrected:.4f})"
        if self.test is not None:
            found += f"; test_accuracy {self.test.value:.4f}{_spell_interval(self.test)}"
        sentences = [found]
        if self.inseparable:
            winning = sum((standing.win_share or 0) > _SOME for standing in self.standings)
            often = f"; {winning} of {len(self.standings)} win in more than 1 % of resamples" if self.selection else ""
            sentences.append(
                f"{len(self.inseparable)} settings cannot be told from the best{often}: train the best ones with "
                f"fresh seeds: dlexp sweep --confirm={self.name} --confirm_top=3 --seeds=5"
            )
        if self.unfinished:
            sentences.append(f"{self.unfinished} runs have no result: they failed, diverged, were pruned or still run")
        return sentences


def _spell_interval(score: Share | Mean) -> str:
    if isinstance(score, Share):
        return f" (95 % {score.low:.4f} to {score.high:.4f}; {score.examples:,} examples)"
    return f" (95 % {score.interval.low:.4f} to {score.interval.high:.4f}; {score.n} seeds)" if score.interval else ""


def analyze_sweep(name: str, *, store: str | pathlib.Path = "mlruns", metric: str = _METRIC) -> SweepAnalysis:
    """Analyzes the finished trials of a sweep. Only validation chooses the winner.

    Args:
        name: of the sweep.
        store: folder of the store.
        metric: of validation; with `:min` or `:max` if dlexp does not know it.

    Raises:
        RunNotFoundError: the store has no run of such a sweep.
        ConfigError: no finished run has the metric.
    """
    unit = unit_of(metric)
    try:
        entries = find_entries((), where=f"sweep == {name!r}", store=store)
    except (RunNotFoundError, LookupError, ValueError):
        raise RunNotFoundError(
            f"no run of store {str(store)!r} belongs to a sweep {name!r}: list the sweeps with dlexp runs "
            "--group_by=sweep"
        ) from None
    groups = [group for group in group_runs(entries, group_by=(), metric=unit.metric) if group.values]
    sign = 1 if unit.smaller_is_better else -1
    groups.sort(key=lambda group: (sign * float(np.mean(list(group.values.values()))), group.name))
    answers = _right_answers(groups) if unit.metric == _METRIC else None
    selection = None if answers is None else bootstrap_selection(np.stack([one.mean(axis=0) for one in answers]))
    adjusted = _compare_with_winner(groups, answers)
    return SweepAnalysis(
        name=name,
        unit=unit,
        standings=[
            Standing(
                group=group,
                validation=mean_of(list(group.values.values())),
                win_share=selection.win_shares[number] if selection else None,
                adjusted_p=adjusted.get(number),
            )
            for number, group in enumerate(groups)
        ],
        selection=selection,
        test=_test_score(groups[0]),
        unfinished=len(entries) - sum(len(group.values) for group in groups),
    )


def _right_answers(groups: Sequence[Group]) -> list[np.ndarray] | None:
    """Whether the runs of each group are right, `bool` `(seeds, examples)`; None if a run has no predictions."""
    try:
        answers = [[right_answers(entry.run, "validation") for entry in group.finished.values()] for group in groups]
    except StoreError:
        return None
    lengths = {len(right) for of_group in answers for right in of_group}
    if len(lengths) > 1:
        return None  # the runs have other validation examples
    return [np.stack([right.to_numpy() for right in of_group]) for of_group in answers]


def _compare_with_winner(groups: Sequence[Group], answers: Sequence[np.ndarray] | None) -> Mapping[int, float]:
    """Holm's p of the difference of each group to the first: over seeds if there are three, else over examples."""
    p_values = {}
    for number, group in enumerate(groups[1:], start=1):
        if min(len(group.values), len(groups[0].values)) >= LEAST_FOR_INTERVAL:
            p = difference_of(group.values, groups[0].values).p
        elif answers is not None and len(answers[number]) == len(answers[0]) == 1:
            p = mcnemar_p(answers[number][0], answers[0][0])
        else:
            p = None
        if p is not None:
            p_values[number] = p
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _test_score(winner: Group) -> Share | Mean | None:
    entries = [entry for entry in winner.finished.values() if _TEST_METRIC in entry.columns]
    values = [float(entry.columns[_TEST_METRIC]) for entry in entries]
    if len(values) != 1:
        return mean_of(values) if values else None
    try:
        right = right_answers(entries[0].run, "test")
    except StoreError:
        return mean_of(values)
    return share_with_interval(int(right.sum()), len(right))
