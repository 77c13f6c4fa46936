"""The metrics of the best epoch at the end of a run."""

from dlexp.runs.best_values import best_values


def test_metrics_of_the_best_epoch_have_a_prefix_and_those_of_test_are_left_out() -> None:
    record = {"best_epoch": 3, "metrics": {"loss": 0.5, "val_accuracy": 0.9, "test_accuracy": 0.8}}
    assert best_values(record) == {"best/loss": 0.5, "best/val_accuracy": 0.9, "best_epoch": 3}


def test_run_without_an_epoch_has_none() -> None:
    assert best_values({"status": "FAILED"}) == {}
