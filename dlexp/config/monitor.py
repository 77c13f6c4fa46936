"""Which way a metric is better, by its name."""

_SMALL_IS_BETTER = ("loss", "error", "entropy", "divergence", "hinge", "poisson", "false", "seconds", "num_", "bytes")


def is_smaller_better(metric: str) -> bool:
    """Whether a metric should be small: losses, errors, times and sizes."""
    return any(word in metric for word in _SMALL_IS_BETTER)
