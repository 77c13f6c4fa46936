"""Whether a monitored metric shall rise or fall."""

import pytest

from dlexp.config.monitor import monitor_mode
from dlexp.errors import ConfigError


@pytest.mark.parametrize(
    ("monitor", "mode", "expected"),
    [("val_accuracy", "auto", "max"), ("val_loss", "auto", "min"), ("val_mean_squared_error", "auto", "min"),
     ("val_f1_score", "auto", "max"), ("val_accuracy", "min", "min"), ("val_recall/loss", "auto", "max"),
     ("test_accuracy/errors (loss)", "auto", "max"), ("test_loss/lossless", "auto", "min"), ("own", "max", "max")],
)  # fmt: skip
def test_mode_of_a_monitored_metric(monitor: str, mode: str, expected: str) -> None:
    assert monitor_mode(monitor, mode) == expected


@pytest.mark.parametrize(("monitor", "hint"), [("val_acuracy", "did you mean val_accuracy"), ("terrors", "give")])
def test_metric_that_is_not_known_needs_a_mode(monitor: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"monitor={monitor} is no metric of dlexp.*{hint}.*--monitor_mode=min"):
        monitor_mode(monitor, "auto")
