"""What a sweep shows."""

import pathlib

import numpy as np
import pytest

from dlexp.comparison.seeds import Mean
from dlexp.comparison.sweep import analyze_sweep
from dlexp.errors import RunNotFoundError
from dlexp.evaluation.intervals import Share
from tests.support.compared_runs import make_run

EXAMPLES = 200


def make_trials(store: pathlib.Path, rates: list[float], *, seeds: int = 1) -> None:
    """Trials of sweep s with these shares of right validation answers."""
    rng = np.random.default_rng(0)
    for number, rate in enumerate(rates):
        for seed in range(seeds):
            right = rng.random(EXAMPLES) < rate
            make_run(
                store, float(right.mean()), learning_rate=0.001 * (number + 1), seed=seed, validation=right,
                answers=rng.random(100) < rate, record={"sweep": "s", "trial": number},
            )  # fmt: skip


def test_winner_of_equal_settings_is_mostly_luck(tmp_path: pathlib.Path) -> None:
    make_trials(tmp_path, [0.9] * 12)
    found = analyze_sweep("s", store=tmp_path)
    assert found.selection is not None
    assert found.selection.optimism > 0.01
    assert len(found.inseparable) == 11
    assert sum(standing.win_share or 0 for standing in found.standings) == pytest.approx(1.0)
    first, second = found.sentences()
    assert first.startswith("best of 12 settings: learning_rate=")
    assert "points are luck" in first
    assert second.startswith("11 settings cannot be told from the best")


def test_clear_winner_is_told_from_all_others(tmp_path: pathlib.Path) -> None:
    make_trials(tmp_path, [0.5, 0.95, 0.6])
    found = analyze_sweep("s", store=tmp_path)
    assert found.standings[0].group.settings == {"learning_rate": 0.002}
    assert found.inseparable == []
    assert len(found.sentences()) == 1


def test_test_score_of_the_winner_has_an_interval_over_examples(tmp_path: pathlib.Path) -> None:
    make_trials(tmp_path, [0.5, 0.95])
    found = analyze_sweep("s", store=tmp_path)
    assert isinstance(found.test, Share)
    assert found.test.examples == 100
    assert found.test.low < found.test.value < found.test.high


def test_settings_with_several_seeds_are_compared_by_their_means(tmp_path: pathlib.Path) -> None:
    make_trials(tmp_path, [0.7, 0.95], seeds=3)
    found = analyze_sweep("s", store=tmp_path)
    assert [standing.validation.n for standing in found.standings] == [3, 3]
    assert found.standings[1].is_separable
    assert isinstance(found.test, Mean)


def test_without_predictions_there_is_a_winner_and_no_correction(tmp_path: pathlib.Path) -> None:
    for rate in (0.001, 0.01):
        make_run(tmp_path, 0.9 + rate, learning_rate=rate, record={"sweep": "s"})
    found = analyze_sweep("s", store=tmp_path)
    assert found.selection is None
    assert found.standings[0].group.settings == {"learning_rate": 0.01}
    assert found.standings[0].win_share is None


def test_trials_without_a_result_are_counted(tmp_path: pathlib.Path) -> None:
    make_trials(tmp_path, [0.8, 0.9])
    make_run(tmp_path, 0.99, learning_rate=0.5, record={"sweep": "s", "status": "PRUNED"})
    found = analyze_sweep("s", store=tmp_path)
    assert (found.unfinished, len(found.standings)) == (1, 2)
    assert found.sentences()[-1].startswith("1 runs have no result")


@pytest.mark.parametrize("name", ["other", "", "it's"])
def test_unknown_sweep_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    make_trials(tmp_path, [0.8])
    with pytest.raises(RunNotFoundError, match="belongs to a sweep"):
        analyze_sweep(name, store=tmp_path)


def test_store_without_sweeps_is_refused(tmp_path: pathlib.Path) -> None:
    make_run(tmp_path)
    with pytest.raises(RunNotFoundError, match="belongs to a sweep"):
        analyze_sweep("s", store=tmp_path)
