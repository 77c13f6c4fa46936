"""A training that memorizes while validation stays at chance is explained; others are not."""

import pytest

from dlexp.evaluation.chance import explain_validation_at_chance
from dlexp.runs.points import Point


def points(**values: list[float]) -> list[Point]:
    return [
        Point(key, step, step, value, "2026-11-26T00:00:00Z")
        for key, course in values.items()
        for step, value in enumerate(course, start=1)
    ]


def test_training_whose_validation_stays_at_chance_is_explained_with_what_to_try() -> None:
    text = explain_validation_at_chance(points(accuracy=[0.5, 0.97], val_accuracy=[0.2, 0.23]), [6] * 5)
    assert text is not None
    assert "training accuracy is 0.97" in text
    assert "--batch_norm_momentum=steps" in text


@pytest.mark.parametrize(
    ("accuracy", "val_accuracy", "counts"),
    [
        ([0.97], [0.6], [6] * 5),
        ([0.3], [0.2], [6] * 5),  # nothing is learned at all
        ([0.9, 0.97], [0.7, 0.2], [6] * 5),  # it was above chance once
        ([0.95], [0.9], [90, 10]),  # the frequent class alone gives 0.9
        ([], [], [6] * 5),
        ([0.97], [0.0], [0, 0]),
    ],
)
def test_any_other_training_is_not(accuracy: list[float], val_accuracy: list[float], counts: list[int]) -> None:
    assert explain_validation_at_chance(points(accuracy=accuracy, val_accuracy=val_accuracy), counts) is None
