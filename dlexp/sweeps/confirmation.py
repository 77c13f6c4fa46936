"""Confirms the best points of a sweep: trains them again with seeds that the sweep has not used.

The score of a winner is too high, as it was chosen by it. Fresh seeds, compared with each other, show which of the best
points is the best.
"""

from dlexp.errors import ConfigError
from dlexp.sweeps.folder import SweepFolder
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.ranking import rank_points
from dlexp.sweeps.space.runs_file import Commands, difference


def best_points(folder: SweepFolder, plan: SweepPlan, *, top: int) -> Commands:
    """Returns the best points of a sweep, by its first objective, with the first seed that none of its trials has.

    Args:
        folder: of the sweep.
        plan: of the sweep.
        top: how many points, at least 1.

    Raises:
        ConfigError: no point of the sweep has a result.
    """
    trials = folder.trials()
    ranked = rank_points(trials, plan)
    if not ranked:
        raise ConfigError(
            f"sweep {folder.name} has no finished trial to confirm: continue it with --resume={folder.name}"
        )
    base = plan.base.replace(seed=1 + max(trial.seed for trial in trials))
    configs = (plan.candidates.config(point.trials[0].point).replace(seed=base.seed) for point in ranked)
    points = [difference(base, config) for config in configs]
    different = [point for number, point in enumerate(points) if point not in points[:number]]  # but for the seed
    return Commands(base, different[:top])
