"""How lucky the best of many trials is.

The best of a hundred trials on a hundred validation examples is partly the best at these examples: its score is too
high. The bootstrap of the selection repeats the choice on resamples and scores it on the examples that a resample has
left out (BBC, Tsamardinos et al. 2018, https://doi.org/10.1007/s10994-018-5714-4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_RESAMPLES, _AT_ONCE = 2000, 100
_SEED = 0  # of the resamples, so that the same predictions give the same numbers


@dataclass(frozen=True)
class Selection:
    """What the bootstrap of a selection shows.

    Attributes:
        best: mean score of the best trial on all examples, as a sweep reports it.
        corrected: its score without the luck of the selection.
        win_shares: share of the resamples that each trial wins; ties are shared. They add up to 1.
    """

    best: float
    corrected: float
    win_shares: Sequence[float]

    @property
    def optimism(self) -> float:
        """By how much the score of the best trial is too high."""
        return self.best - self.corrected


def bootstrap_selection(scores: np.ndarray) -> Selection:
    """Repeats the selection of the best trial on resamples of the examples.

    Args:
        scores: `float` `(trials, examples)`: 1 where a trial is right and 0 where it is wrong, the mean of that over
            seeds, or minus the loss. At least one trial and two examples.
    """
    trials, examples = scores.shape
    rng = np.random.default_rng(_SEED)
    uniform = np.full(examples, 1 / examples)
    corrected, won = [], np.zeros(trials)
    for _ in range(_RESAMPLES // _AT_ONCE):
        counts = rng.multinomial(examples, uniform, size=_AT_ONCE).astype(np.float64)
        inside = counts @ scores.T
        wins = np.isclose(inside, inside.max(axis=1, keepdims=True), rtol=1e-12, atol=0)
        shares = wins / wins.sum(axis=1, keepdims=True)
        left_out = counts == 0
        has_some = left_out.any(axis=1)
        outside = (left_out[has_some].astype(np.float64) @ scores.T) / left_out[has_some].sum(axis=1, keepdims=True)
        corrected.append((outside * shares[has_some]).sum(axis=1))
        won += shares.sum(axis=0)
    best = float(scores.mean(axis=1).max())
    return Selection(best, float(np.concatenate(corrected).mean()), (won / _RESAMPLES).tolist())
