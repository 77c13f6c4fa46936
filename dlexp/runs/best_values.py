"""The metrics of the best epoch as points at the end of a run.

Trackers show and sort the last value of a key, which is that of the last epoch. `best/val_accuracy` is that of the best
one: sorted by it, MLflow, TensorBoard's HParams and W&B name the same winner as `dlexp runs`.
"""

from collections.abc import Mapping
from typing import Any

PREFIX = "best/"


def best_values(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the values by key: `best/val_accuracy`, ..., and `best_epoch`; none if no epoch has ended.

    Args:
        record: of the run, as `Run.record` returns it. Its `test_*` metrics keep their names: they are measured once.
    """
    of_best = {name: value for name, value in record.get("metrics", {}).items() if not name.startswith("test_")}
    if not of_best:
        return {}
    return {f"{PREFIX}{name}": value for name, value in of_best.items()} | {"best_epoch": record["best_epoch"]}
