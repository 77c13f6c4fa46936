"""Whether the verdicts of `dlexp compare` are right as often as they claim, over hundreds of real trainings.

Two settings of a small network on the digits are trained with 200 seeds each, and a hundred random settings once. The
mean of all seeds stands for the truth; groups of five seeds are compared as a user would compare them.
"""

import pathlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from dlexp.comparison.entries import find_entries
from dlexp.comparison.groups import Group, group_runs
from dlexp.comparison.predictions import right_answers
from dlexp.comparison.seeds import CONFIDENCE, Repeat, difference_of, mean_of, seeds_needed
from dlexp.comparison.selection import bootstrap_selection
from tests.benchmarks.measuring import Row, run_process

_METRIC = "test_accuracy"
_SEEDS, _OF_A_GROUP, _COMPARISONS = 200, 5, 1000
_TRIALS, _RESPLITS = 100, 300
_SETTINGS = "--space=learning_rate=choice(0.001,0.0013)"
_RANDOM = "--space=learning_rate=log(1e-3,3e-2); weight_decay=log(1e-6,1e-1)"
_TRAINING = ("--dataset=digits", "--model=mlp", "--epochs=3", "--noevaluation_report")


def measure(folder: str) -> list[Row]:
    """Trains, compares, and returns the rows of the table: shares and points, and what they should be.

    Args:
        folder: an empty folder for the store.
    """
    store = pathlib.Path(folder) / "store"
    _sweep(store, "seeds", _SETTINGS, f"--seeds={_SEEDS}")
    _sweep(store, "random", _RANDOM, "--search=random", f"--trials={_TRIALS}")
    a, b = group_runs(find_entries((), where="sweep == 'seeds'", store=store), group_by=(), metric=_METRIC)
    rng = np.random.default_rng(0)
    return [*_measure_equal_settings(a, rng), *_measure_different_settings(a, b, rng), _measure_luck(store, rng)]


def _sweep(store: pathlib.Path, name: str, *words: str) -> None:
    command = [sys.executable, "-m", "dlexp.commands.cli", "sweep", *_TRAINING, f"--store={store}"]
    run_process([*command, f"--sweep_name={name}", *words])


def _measure_equal_settings(group: Group, rng: np.random.Generator) -> list[Row]:
    """Compares groups of five seeds of one setting: every difference that is found is a false alarm."""
    truth = float(np.mean(list(group.values.values())))
    alarms = {"paired": 0, "Welch": 0}
    covered = 0
    for _ in range(_COMPARISONS):
        first, second = _draw(group, rng), _draw(group, rng)
        interval = mean_of(list(first.values())).interval
        covered += interval is not None and interval.low <= truth <= interval.high
        pairs = {"Welch": (first, second), "paired": (_renumber(first), _renumber(second))}
        for method, (one, other) in pairs.items():
            alarms[method] += _finds(one, other)
    return [
        *(
            _share(f"false alarms of equal settings, {_OF_A_GROUP} seeds each, {method} t", count, 0.05, (0.03, 0.07))
            for method, count in alarms.items()
        ),
        _share(f"intervals of {_OF_A_GROUP} seeds that hold the mean of all", covered, CONFIDENCE, (0.93, 0.97)),
    ]


def _measure_different_settings(a: Group, b: Group, rng: np.random.Generator) -> list[Row]:
    """Compares groups of five seeds of two settings with the same seeds: how often the difference is found."""
    seeds = sorted(a.values.keys() & b.values.keys())
    everything = difference_of({s: a.values[s] for s in seeds}, {s: b.values[s] for s in seeds})
    assert everything.sd is not None
    needed = seeds_needed(everything, everything.value)
    assert needed is not None
    return [
        _power(a, b, seeds, _OF_A_GROUP, _theory(everything.value / everything.sd, _OF_A_GROUP), rng),
        _power(a, b, seeds, needed, 0.8, rng),
        Row(
            "seeds that show the difference in 80 % of comparisons",
            needed,
            peer := _seeds_that_show(a, b, seeds, rng),
            "found by trying",
            "within 25 %",
            abs(needed / peer - 1) <= 0.25,
            digits=0,
        ),
    ]


def _power(a: Group, b: Group, seeds: Sequence[Repeat], count: int, expected: float, rng: np.random.Generator) -> Row:
    found = _share_found(a, b, seeds, count, rng)
    return Row(f"differences found with {count} common seeds, share", found, expected, "by theory", digits=3)


def _theory(effect: float, count: int) -> float:
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().power(effect_size=abs(effect), nobs=count, alpha=1 - CONFIDENCE))


def _seeds_that_show(a: Group, b: Group, seeds: Sequence[Repeat], rng: np.random.Generator) -> int:
    return next(n for n in range(3, len(seeds)) if _share_found(a, b, seeds, n, rng) >= 0.8)


def _share_found(a: Group, b: Group, seeds: Sequence[Repeat], count: int, rng: np.random.Generator) -> float:
    found = 0
    for _ in range(_COMPARISONS):
        drawn = [seeds[number] for number in rng.choice(len(seeds), count, replace=False)]
        found += _finds({s: a.values[s] for s in drawn}, {s: b.values[s] for s in drawn})
    return found / _COMPARISONS


def _measure_luck(store: pathlib.Path, rng: np.random.Generator) -> Row:
    """Splits the examples of validation and test anew, and compares the corrected score of the best with its true one.

    The winner is chosen on as many examples as validation has; its true score is that on all others.
    """
    entries = find_entries((), where="sweep == 'random'", store=store)
    answers = [[right_answers(entry.run, split) for split in ("validation", "test")] for entry in entries]
    right = np.stack([np.concatenate(pair) for pair in answers]).astype(np.float64)
    chosen = len(answers[0][0])
    raw, corrected = [], []
    for _ in range(_RESPLITS):
        order = rng.permutation(right.shape[1])
        inside, outside = right[:, order[:chosen]], right[:, order[chosen:]]
        selection = bootstrap_selection(inside)
        truth = float(outside[inside.mean(axis=1).argmax()].mean())
        raw.append(100 * (selection.best - truth))
        corrected.append(100 * (selection.corrected - truth))
    bias = float(np.mean(corrected))
    what = f"luck of the best of {len(entries)} settings that is left after correction, points"
    return Row(what, bias, float(np.mean(raw)), "without correction", "within 0.5", abs(bias) < 0.5)


def _draw(group: Group, rng: np.random.Generator) -> dict[Repeat, float]:
    seeds = list(group.values)
    return {seeds[number]: group.values[seeds[number]] for number in rng.choice(len(seeds), _OF_A_GROUP, replace=False)}


def _renumber(values: Mapping[Repeat, float]) -> dict[Repeat, float]:
    return {(number,): value for number, value in enumerate(values.values())}


def _finds(a: Mapping[Repeat, float], b: Mapping[Repeat, float]) -> bool:
    p = difference_of(a, b).p
    return p is not None and p < 1 - CONFIDENCE


def _share(what: str, count: int, expected: float, limits: tuple[float, float]) -> Row:
    low, high = limits
    share = count / _COMPARISONS
    return Row(what, share, expected, "nominal", f"{low:.2f} to {high:.2f}", low <= share <= high, digits=3)
