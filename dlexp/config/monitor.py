"""Decides from the name of a metric whether small or large values are better."""

_SMALL_IS_BETTER = ("loss", "error", "entropy", "divergence", "hinge", "poisson", "false", "seconds", "num_", "bytes")


def is_smaller_better(metric: str) -> bool:
    """Returns whether small values of a metric are better, as for losses, errors, times and sizes."""
    return any(word in metric for word in _SMALL_IS_BETTER)


def monitor_mode(monitor: str, mode: str) -> str:
    """Returns `min` or `max` for a monitored metric: the given mode, or for `auto` the mode that fits its name."""
    if mode != "auto":
        return mode
    return "min" if is_smaller_better(monitor) else "max"
