"""The best model of a run, as its folder tells it."""

from dlexp.checkpoints.metadata import read_metadata
from dlexp.runs.run import Run
from dlexp.tracking.base import BestModel


def read_best_model(run: Run) -> BestModel:
    """The best checkpoint of a run that was trained and evaluated to the end.

    Raises:
        CheckpointError: its file is not there, or damaged.
    """
    record = run.record()
    path = run.path / record["best_checkpoint"]
    metadata = read_metadata(path)
    height, width, channels = metadata["input_shape"]
    return BestModel(
        checkpoint=path,
        epoch=metadata["epoch"],
        step=metadata["step"],
        metrics=record["metrics"],
        image_shape=(height, width, channels),
        class_names=metadata["class_names"],
        weights_digest=metadata["weights_digest"],
    )
