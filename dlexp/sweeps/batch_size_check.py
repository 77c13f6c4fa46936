"""Checks before the first trial that all trials of a sweep have one batch size, that of their experiment."""

from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError
from dlexp.runs.batch_sizes import WHY, check_batch_size
from dlexp.sweeps.plan import SweepPlan


def check_batch_sizes(plan: SweepPlan) -> None:
    """Raises ConfigError if trials would have several batch sizes, or another one than their experiment or sweep.

    Trials with `allow_batch_size_change` are not checked, nor those whose batch size is still to be chosen.
    """
    fixed = {
        (config.tracking.experiment, config.data.batch_size): config
        for config in plan.candidates.corner_configs()
        if not config.tracking.allow_batch_size_change and config.data.batch_size != AUTO
    }
    sizes = sorted({batch_size for _, batch_size in fixed})
    if len(sizes) > 1:
        raise ConfigError(
            f"trials of sweep {plan.name!r} have batch_size={' and '.join(map(str, sizes))}, so they cannot be "
            f"compared: {WHY}; give one --batch_size, or --allow_batch_size_change"
        )
    for config in fixed.values():
        check_batch_size(config, sweep=plan.name)
