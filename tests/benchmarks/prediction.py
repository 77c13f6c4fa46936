"""Predictions of a folder of JPEG files, against the model itself on one batch in memory.

dlexp reads, decodes and resizes every file and writes a CSV file; the peer repeats `predict_on_batch`. Both use batches
of 32. Neither time includes the start: dlexp is timed from its first table on.
"""

import itertools
import pathlib
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import tensorflow as tf

from dlexp import ExperimentConfig, find_images, predict_images
from dlexp.checkpoints.files import LoadedCheckpoint
from dlexp.checkpoints.portable import build_portable_model
from dlexp.evaluation.prediction_file import write_predictions
from dlexp.models.build import build_model
from tests.benchmarks.measuring import Row, interleave, seconds_of
from tests.benchmarks.pipeline_folder import write_photos

_BATCH_SIZE, _NUM_CLASSES, _REPEATS = 32, 10, 3
# Model, side of its images, side of the files, and number of predicted batches.
_CASES = (("resnet20", 32, 32, 150), ("MobileNetV3Small", 224, 256, 50), ("EfficientNetB0", 224, 256, 10))


def measure(folder: str) -> list[Row]:
    """Times each model on files and on a batch in memory.

    Args:
        folder: an empty folder for the images.
    """
    root = pathlib.Path(folder)
    for side in {side for _, _, side, _ in _CASES}:
        write_photos(root / f"photos-{side}", side=side)
    return [_compare(root, *case) for case in _CASES]


def _compare(root: pathlib.Path, name: str, side: int, file_side: int, batches: int) -> Row:
    checkpoint = _make_checkpoint(name, side)
    images = find_images([str(root / f"photos-{file_side}" / "train")])
    paths = list(itertools.islice(images, (batches + 1) * _BATCH_SIZE))
    batch = tf.constant(np.random.default_rng(0).integers(0, 256, (_BATCH_SIZE, side, side, 3), np.uint8))
    checkpoint.model.predict_on_batch(batch)
    sides: dict[str, Callable[[], float]] = {
        "dlexp": partial(_predict_files, checkpoint, paths, root / "predictions.csv"),
        "peer": lambda: seconds_of(lambda: [checkpoint.model.predict_on_batch(batch) for _ in range(batches)]),
    }
    measured = interleave(sides, repeats=_REPEATS)
    speeds = {side: batches * _BATCH_SIZE / min(seconds) for side, seconds in measured.items()}
    what = f"predicting JPEG files of {file_side}x{file_side}, {name} at {side}x{side}, images/s"
    met = speeds["dlexp"] >= 0.95 * speeds["peer"]
    return Row(what, speeds["dlexp"], speeds["peer"], "the model itself", aim=">= 0.95", met=met, digits=0)


def _make_checkpoint(name: str, side: int) -> LoadedCheckpoint:
    """Makes an object like a loaded checkpoint; its weights are random, which takes the same time."""
    config = ExperimentConfig.of(model=name, batch_size=_BATCH_SIZE)
    model = build_portable_model(
        build_model(config.model, (side, side, 3), _NUM_CLASSES, dtype_policy="float32"), metrics=[]
    )
    class_names = tuple(f"class-{label}" for label in range(_NUM_CLASSES))
    metadata = {"input_shape": (side, side, 3)}
    return LoadedCheckpoint(model, class_names, (side, side), config, {}, metadata, pathlib.Path(f"{name}.keras"))


def _predict_files(checkpoint: LoadedCheckpoint, paths: Sequence[str], output: pathlib.Path) -> float:
    """Returns the seconds from the first table to the complete file."""
    tables = predict_images(checkpoint, paths)
    first = next(tables)
    started = time.perf_counter()
    with write_predictions(output) as file:
        for table in itertools.chain([first], tables):
            file.write(table)
    return time.perf_counter() - started
