"""Predicts the class and the class probabilities of image files with a checkpoint."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from dlexp.checkpoints.files import LoadedCheckpoint, load_checkpoint
from dlexp.datasets.images.image_stream import ImageStream
from dlexp.errors import ConfigError
from dlexp.evaluation.prediction_file import check_top_k, tabulate_predictions
from dlexp.evaluation.scores import probabilities_of
from dlexp.evaluation.split_prediction import compile_forward

_log = logging.getLogger(__name__)


def _warn(path: str, reason: str) -> None:
    _log.warning("%r cannot be read: %s", path, reason)


def predict_images(
    checkpoint: LoadedCheckpoint | str | os.PathLike[str],
    paths: Iterable[str | os.PathLike[str]],
    *,
    top_k: int = 0,
    probabilities: bool = True,
    batch_size: int = 0,
    num_workers: int = 0,
    store: str = "mlruns",
    on_unreadable: Callable[[str, str], None] = _warn,
) -> Iterator[pd.DataFrame]:
    """Predicts the classes of images, decoded as in training; memory use does not grow with their number.

    Args:
        checkpoint: from `load_checkpoint`; or the path of a checkpoint file; or a run, for its best checkpoint.
        paths: of image files; `find_images` expands folders and patterns.
        top_k: return only the `top_k` most probable classes; 0: the probability of every class.
        probabilities: whether there are columns for the probability of every class.
        batch_size: images in a batch; 0: as many as pass the network at once in the training.
        num_workers: images decoded in parallel; 0: one per core.
        store: folder where a run is looked up.
        on_unreadable: called with the path and the reason for each file that cannot be read; such a file has no row.

    Returns:
        Iterator of tables, one per batch, with one row per image in the order of the paths. Columns: `path`;
        `prediction`, a class name; `confidence`, its probability, `float32`; then `probability_<class name>` for every
        class, or `prediction_2`, `confidence_2` and so on with `top_k`.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigError: top_k, batch_size or num_workers is out of range.

    Example:
        >>> tables = predict_images("latest", find_images(["photos"]), top_k=3)
        >>> for table in tables:
        ...     print(table[["path", "prediction", "confidence"]])
    """
    loaded = checkpoint if isinstance(checkpoint, LoadedCheckpoint) else load_checkpoint(str(checkpoint), store=store)
    check_top_k(top_k, loaded.class_names)
    for name, value in {"batch_size": batch_size, "num_workers": num_workers}.items():
        if value < 0:
            raise ConfigError(f"{name}={value} must be 0 or more")
    stream = ImageStream(
        (os.fspath(path) for path in paths),
        image_shape=tuple(loaded.metadata["input_shape"]),
        batch_size=batch_size or loaded.config.data.evaluation_batch_size,
        num_workers=num_workers,
        bits=int(loaded.config.data.bits),
        on_unreadable=on_unreadable,
    )
    # The same operations as in evaluation, so that the same batch gives bit-identical results.
    forward = compile_forward(loaded, tuple(loaded.metadata["input_shape"]))

    def predict(images: Any) -> np.ndarray:
        return probabilities_of(forward(images).numpy())

    return (
        tabulate_predictions(paths, predict(images), loaded.class_names, top_k=top_k, probabilities=probabilities)
        for paths, images in stream
    )
