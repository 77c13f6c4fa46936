"""What is logged every N steps, and after every epoch."""

from dlexp.runs.run import Run


def steps_of(run: Run, key: str) -> list[int]:
    points = run.points()
    return points["step"][points["key"] == key].tolist()


def test_every_so_many_steps_there_are_points(run: Run) -> None:
    every_ten = list(range(10, 61, 10))
    for key in ("loss", "accuracy", "gradient_norm", "weight_norm", "learning_rate", "step_seconds"):
        assert steps_of(run, f"steps/{key}") == every_ten, key
    assert steps_of(run, "load/process_memory_mb") == every_ten


def test_every_epoch_has_norms_times_and_load(run: Run) -> None:
    for key in ("gradient_norm", "weight_norm", "step_seconds", "data_wait_seconds", "images_per_second"):
        assert steps_of(run, key) == [20, 40, 60], key


def test_loss_at_the_end_of_an_epoch_is_that_of_the_epoch(run: Run) -> None:
    points = run.points().set_index(["key", "step"])["value"]
    assert points["steps/loss", 40] == points["loss", 40]
