"""Whether a monitored metric shall rise or fall."""

import pytest

from dlexp.config.monitor import monitor_mode


@pytest.mark.parametrize(
    ("monitor", "mode", "expected"),
    [("val_accuracy", "auto", "max"), ("val_loss", "auto", "min"), ("val_mean_squared_error", "auto", "min"),
     ("val_f1_score", "auto", "max"), ("val_accuracy", "min", "min")],
)  # fmt: skip
def test_mode_of_a_monitored_metric(monitor: str, mode: str, expected: str) -> None:
    assert monitor_mode(monitor, mode) == expected
