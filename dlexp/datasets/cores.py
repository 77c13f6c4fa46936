"""How many processor cores this process may use."""

import os


def count_cores() -> int:
    """Cores that this process may run on: in a batch job or under `taskset` fewer than the machine has."""
    return len(os.sched_getaffinity(0))
