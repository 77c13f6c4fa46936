"""What the best checkpoint must give at the end of a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.evaluation.verification import find_differences

RECORDED = {"val_loss": 0.5, "val_accuracy": 0.85, "val_f1_score": 0.8, "loss": 0.1, "accuracy": 0.99}


@given(st.dictionaries(st.sampled_from(["loss", "accuracy", "f1_score"]), st.floats(0, 10), min_size=1))
def test_equal_values_never_differ(values: dict[str, float]) -> None:
    recorded = {f"val_{name}": value for name, value in values.items()}
    assert find_differences(recorded, values, examples=100) == []


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"loss": 0.50001, "accuracy": 0.85}, []),
        ({"loss": 0.501}, ["val_loss 0.501 (recorded: 0.5)"]),
        ({"accuracy": 0.86}, []),  # 2 of 200 examples
        ({"accuracy": 0.75}, ["val_accuracy 0.75 (recorded: 0.85)"]),
        ({"f1_score": 0.7}, ["val_f1_score 0.7 (recorded: 0.8)"]),
        ({"loss": math.nan}, ["val_loss nan (recorded: 0.5)"]),
        ({"another": 3.0}, []),
    ],
)
def test_only_more_than_rounding_differs(measured: dict[str, float], expected: list[str]) -> None:
    assert find_differences(RECORDED, measured, examples=200) == expected


def test_values_that_are_not_numbers_on_both_sides_are_equal() -> None:
    assert find_differences({"val_auc": math.nan}, {"auc": math.nan}, examples=10) == []


def test_half_precision_may_tip_more_examples() -> None:
    assert find_differences({"val_accuracy": 0.5}, {"accuracy": 0.508}, examples=10_000)
    assert not find_differences({"val_accuracy": 0.5}, {"accuracy": 0.508}, examples=10_000, half_precision=True)
