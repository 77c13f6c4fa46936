"""Recognizes a training that has learned its training examples while validation stays at chance."""

import math
from collections.abc import Iterable, Sequence

from dlexp.runs.points import Point

_CLEARLY_ABOVE = 0.3  # in accuracy
_DEVIATIONS = 2.0


def explain_validation_at_chance(points: Iterable[Point], validation_counts: Sequence[int]) -> str | None:
    """Returns one sentence on what such a training looks like and what to try; None for any other training.

    Chance is the accuracy of always naming the most frequent class. Validation counts as chance up to two standard
    deviations above it in its best epoch.

    Args:
        points: of the run; those of `accuracy` and `val_accuracy` are read.
        validation_counts: validation examples of each class.
    """
    values: dict[str, list[float]] = {"accuracy": [], "val_accuracy": []}
    for point in points:
        if point.key in values:
            values[point.key].append(point.value)
    total = sum(validation_counts)
    if not total or not all(values.values()):
        return None
    chance = max(validation_counts) / total
    highest_by_chance = chance + _DEVIATIONS * math.sqrt(chance * (1 - chance) / total)
    train, validation = values["accuracy"][-1], max(values["val_accuracy"])
    if train < chance + _CLEARLY_ABOVE or validation > highest_by_chance:
        return None
    return (
        f"training accuracy is {train:.2f}, but validation accuracy never rose above {validation:.2f}, which is "
        "chance: look at the images with dlexp data samples, and try more images, --augment, "
        "--batch_norm_momentum=steps or a smaller --learning_rate"
    )
