"""Makes tables of predictions and writes them to a CSV or Parquet file in parts, without TensorFlow."""

import collections
import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from dlexp.errors import ConfigError, DataError, StoreError
from dlexp.machine.atomic import atomic_file

_WRITERS: dict[str, Any] = {".csv": csv.CSVWriter, ".parquet": parquet.ParquetWriter}
# Rows are collected before they are written: a part is a row group, and Parquet keeps the metadata of all row groups
# in memory until the file is closed.
_MOST_ROWS, _MOST_VALUES = 1 << 16, 1 << 22


def check_top_k(top_k: int, class_names: Sequence[str]) -> None:
    """Raises ConfigError if `top_k` is negative or larger than the number of classes."""
    if not 0 <= top_k <= len(class_names):
        raise ConfigError(f"top_k={top_k} must be from 1 to {len(class_names)}, the number of classes, or 0 for all")


def tabulate_predictions(
    paths: Sequence[str], probabilities_of: np.ndarray, class_names: Sequence[str], *, top_k: int, probabilities: bool
) -> pd.DataFrame:
    """Makes a table with one row per image; `dlexp.predict_images` describes its columns.

    Args:
        paths: of the images.
        probabilities_of: `float32` `(len(paths), num_classes)`.
        class_names: name of each class.
        top_k: number of most probable classes in a row; 0: one class, and the probabilities of all classes.
        probabilities: whether to include the probabilities of all classes.
    """
    names = np.asarray(class_names, object)
    order = _most_probable(probabilities_of, top_k or 1)
    columns: dict[str, Any] = {"path": pd.array(paths, "str")}
    for rank in range(order.shape[1]):
        suffix = f"_{rank + 1}" if rank else ""
        columns[f"prediction{suffix}"] = pd.array(names[order[:, rank]], "str")
        columns[f"confidence{suffix}"] = probabilities_of[np.arange(len(paths)), order[:, rank]]
    table = pd.DataFrame(columns)
    if top_k or not probabilities:
        return table
    return pd.concat([table, pd.DataFrame(probabilities_of, columns=probability_columns(class_names))], axis=1)


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """Returns `probability_<class name>` for each class; if classes share a name, the class number is added."""
    counts = collections.Counter(class_names)
    columns = [f"probability_{name}" for name in class_names]
    taken = set(columns)
    for label, name in enumerate(class_names):
        while counts[name] > 1 and columns[label] in taken:
            columns[label] += f"_{label}"
        taken.add(columns[label])
    return columns


def _most_probable(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Returns labels by descending probability, `int` `(n, count)`; ties go to the lower label, as in argmax."""
    if count == 1:
        return probabilities.argmax(axis=1)[:, None]
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]


def check_prediction_file(path: pathlib.Path) -> None:
    """Raises an error early, before any prediction, if predictions cannot be written to a path.

    Raises:
        ConfigError: the path ends with neither .csv nor .parquet.
        StoreError: the path is a folder, or its folder cannot be written.
    """
    if path.suffix.lower() not in _WRITERS:
        raise ConfigError(f"output={str(path)!r} must end with {' or '.join(_WRITERS)}, which chooses the format")
    if path.is_dir():
        raise StoreError(f"output {str(path)!r} is a folder: name a file in it")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return
    except OSError as err:
        raise StoreError(f"output {str(path)!r} cannot be written: {err.strerror}: choose another --output") from err


class PredictionFile:
    """A CSV or Parquet file, chosen by the file ending; keeps a bounded number of rows in memory.

    Floats are written without loss: reading them back gives the same values.

    Args:
        path: of the file.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._held: list[pd.DataFrame] = []
        self._rows = 0
        self._writer: Any = None

    def write(self, table: pd.DataFrame) -> None:
        """Adds rows; the first table decides the columns."""
        self._held.append(table)
        self._rows += len(table)
        if self._rows >= min(_MOST_ROWS, _MOST_VALUES // len(table.columns)):
            self._flush()

    def close(self) -> None:
        """Writes the remaining rows and closes the file.

        Raises:
            DataError: no table was given, so even the columns are not known.
        """
        if self._held:
            self._flush()
        if self._writer is None:
            raise DataError("no image could be read, so there is no prediction to write: check the paths of the images")
        self._writer.close()

    def _flush(self) -> None:
        part = pa.Table.from_pandas(pd.concat(self._held), preserve_index=False).replace_schema_metadata()
        if self._writer is None:
            self._writer = _WRITERS[self._path.suffix.lower()](str(self._path), part.schema)
        self._writer.write_table(part)
        self._held, self._rows = [], 0


@contextlib.contextmanager
def write_predictions(path: pathlib.Path) -> Iterator[PredictionFile]:
    """Yields a file to write tables to; it appears at `path` when the block ends, and not at all if the block raises.

    Example:
        >>> with write_predictions(pathlib.Path("predictions.csv")) as file:
        ...     for table in predict_images("latest", find_images(["photos"])):
        ...         file.write(table)
    """
    with atomic_file(path) as temporary:
        file = PredictionFile(temporary)
        yield file
        file.close()
