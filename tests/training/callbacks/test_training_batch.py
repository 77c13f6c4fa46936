"""The picture of a training batch."""

import numpy as np
import pytest

from dlexp.training.callbacks.training_batch import describe_label


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ([0, 1, 0], "b"),
        ([0.05, 0.9, 0.05], "b"),
        ([0.3, 0.7, 0], "b 0.70\na 0.30"),
        ([1, 0], "a"),
        ([0.4, 0.6], "b 0.60\na 0.40"),
    ],
)
def test_label_is_told_with_shares_only_where_it_is_mixed(label: list[float], expected: str) -> None:
    assert describe_label(np.array(label), ("a", "b", "c")) == expected
