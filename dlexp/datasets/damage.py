"""Finds the images that cannot be read when a training fails, as errors of TensorFlow do not name the file."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.pixels import check_pixels
from dlexp.datasets.sources.combined import parts_of
from dlexp.datasets.sources.source import ArraySource
from dlexp.errors import DataError


@contextlib.contextmanager
def naming_unreadable_images(dataset: Dataset) -> Iterator[None]:
    """Turns a TensorFlow error inside the block into a DataError that names an unreadable image, if there is one.

    Example:
        >>> with naming_unreadable_images(datasets.dataset):
        ...     model.fit(datasets.train_dataset())
    """
    try:
        yield
    except tf.errors.OpError as err:
        found = _find_unreadable(dataset)
        if not found:
            raise
        name, reason = found[0]
        raise DataError(
            f"{len(found)} of {len(dataset.manifest)} images of {dataset.name} cannot be read, the first is {name!r}: "
            f"{reason}; restore what was damaged or removed since the start, or start again without these "
            "images, which dlexp data check lists"
        ) from err


def _find_unreadable(dataset: Dataset) -> list[tuple[str, str]]:
    """Reads every image; returns the path (the key, if there is no file) of each that fails, and the reason."""
    if all(isinstance(part, ArraySource) for part in parts_of(dataset.source)):
        return []
    columns = ["key", "path", "row", "height", "width", "channels"]

    def check(example: tuple[Any, ...]) -> tuple[str, str]:
        key, path, row, *shape = example
        try:
            check_pixels(dataset.source.read(row), tuple(shape))
        except Exception as err:  # noqa: BLE001 - a plug-in may raise anything
            return path or key, str(err) or type(err).__name__
        return path or key, ""

    with ThreadPoolExecutor() as pool:
        checked = list(pool.map(check, dataset.manifest[columns].itertuples(index=False, name=None)))
    return [(name, reason) for name, reason in checked if reason]
