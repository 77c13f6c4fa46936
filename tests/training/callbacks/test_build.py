"""Which callbacks a training has."""

from dlexp.runs.run import Run


def test_pictures_of_the_training_are_drawn(run: Run) -> None:
    for name in ("history.png", "samples/training_batch.png", "samples/validation_examples.png"):
        assert (run.path / name).read_bytes().startswith(b"\x89PNG"), name
