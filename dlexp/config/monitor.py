"""Which way a metric is better, by its name."""

_SMALL_IS_BETTER = ("loss", "error", "entropy", "divergence", "hinge", "poisson", "false", "seconds", "num_", "bytes")


def is_smaller_better(metric: str) -> bool:
    """Whether a metric should be small: losses, errors, times and sizes."""
    return any(word in metric for word in _SMALL_IS_BETTER)


def monitor_mode(monitor: str, mode: str) -> str:
    """`min` or `max` for a monitored metric: as given, or for `auto` by its name: losses and errors should be small."""
    if mode != "auto":
        return mode
    return "min" if is_smaller_better(monitor) else "max"
