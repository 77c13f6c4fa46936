"""The luck of the best of many trials."""

import numpy as np
import pytest

from dlexp.comparison.selection import bootstrap_selection


def test_one_trial_is_not_lucky() -> None:
    scores = (np.random.default_rng(0).random((1, 200)) < 0.9).astype(float)
    found = bootstrap_selection(scores)
    assert found.win_shares == [1.0]
    assert found.best == pytest.approx(scores.mean())
    assert found.corrected == pytest.approx(scores.mean(), abs=0.005)


def test_best_of_equal_trials_is_corrected_to_what_they_are() -> None:
    """Over 40 draws of 50 trials with an accuracy of 0.9, the best reads points too high; its correction does not."""
    rng = np.random.default_rng(0)
    found = [bootstrap_selection((rng.random((50, 180)) < 0.9).astype(float)) for _ in range(40)]
    assert np.mean([one.best for one in found]) > 0.94
    assert np.mean([one.corrected for one in found]) == pytest.approx(0.9, abs=0.01)


def test_trial_that_is_far_better_wins_every_resample_and_is_hardly_corrected() -> None:
    rng = np.random.default_rng(0)
    scores = np.stack([rng.random(300) < rate for rate in (0.5, 0.95, 0.6)]).astype(float)
    found = bootstrap_selection(scores)
    assert found.win_shares == [0.0, 1.0, 0.0]
    assert found.optimism == pytest.approx(0.0, abs=0.003)


def test_order_of_the_trials_changes_only_the_order_of_their_shares() -> None:
    scores = (np.random.default_rng(0).random((6, 100)) < 0.8).astype(float)
    order = [3, 1, 5, 0, 2, 4]
    found, moved = bootstrap_selection(scores), bootstrap_selection(scores[order])
    assert moved.corrected == pytest.approx(found.corrected, abs=1e-12)
    assert moved.win_shares == pytest.approx([found.win_shares[number] for number in order])


def test_trials_that_always_tie_share_their_wins() -> None:
    scores = np.tile((np.random.default_rng(0).random(100) < 0.8).astype(float), (4, 1))
    assert bootstrap_selection(scores).win_shares == pytest.approx([0.25] * 4)


def test_losses_are_corrected_alike() -> None:
    """Minus the loss is a score: the greatest one is the best."""
    losses = np.random.default_rng(0).exponential(0.3, (30, 200))
    found = bootstrap_selection(-losses)
    assert found.best == pytest.approx(-losses.mean(axis=1).min())
    assert found.optimism > 0
