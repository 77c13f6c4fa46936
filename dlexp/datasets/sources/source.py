"""The Source contract that plug-ins implement, and the source of arrays in memory."""

import functools
import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import pandas as pd

from dlexp.datasets.sources.left_out import KINDS, left_out_of, left_out_table
from dlexp.errors import DataError
from dlexp.machine.capacity import count_cores

SPLITS = ("train", "validation", "test")
# What folders and tables may call a split, in any case.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
TEXT_COLUMNS = ("key", "path", "source", "group", "split", "digest")
NUMBER_COLUMNS = ("row", "label", "height", "width", "channels")


class Source(Protocol):
    """Examples with labels, and a way to read their pixels. A source never changes after it was opened.

    Any object with these attributes is a source; no base class is needed. `open_dataset` checks the manifest.

    Attributes:
        name: name of the source in tables.
        class_names: name of class 0, 1, ...
        manifest: one row per example, with the columns
            key: `str`, unique and portable: a path relative to the root, or "train/00012".
            path: `str`, the file, or "" where there is none.
            row: `int`, the argument of `read`.
            label: `int` from 0 to `len(class_names) - 1`.
            source: `str`, the name of the source.
            group: `str`, "" if there are no groups.
            split: `str`, "train", "validation" or "test" where the source has official splits, else "".
            digest: `str`, 32 hex digits: blake2b-128 of the content. Equal digests mean the same image.
            height, width, channels: `int`, the shape of what `read` returns.
            Further columns are kept as they are.
        left_out: optional; a table of what lies there but gives no example, from `left_out_table`.
        damaged: optional; a table of the examples that could not be read and are not in the manifest, with the `str`
            columns `key` and `reason`. `--on_bad_image` decides whether they are skipped or are an error.

    Example:
        >>> class Noise:
        ...     name, class_names = "noise", ("dark", "bright")
        ...     def __init__(self):
        ...         images = [self.read(row) for row in range(100)]
        ...         self.manifest = build_manifest(
        ...             "noise", labels=[row % 2 for row in range(100)], digests=array_digests(np.stack(images)),
        ...             shapes=[image.shape for image in images])
        ...     def read(self, row):
        ...         return np.random.default_rng(row).integers(row % 2 * 128, 256, (8, 8, 1), dtype=np.uint8)
    """

    name: str
    class_names: tuple[str, ...]
    manifest: pd.DataFrame

    def read(self, row: int) -> np.ndarray:
        """Reads `uint8` pixels `(height, width, channels)` of one example; called from several threads at once.

        May raise any error for an example that cannot be read; the training then ends with a DataError that names it.
        """
        ...


class ArraySource:
    """Images held in memory, all of one size.

    Attributes:
        left_out: as `Source` describes it.

    Args:
        name: name of the source.
        images: `uint8` `(n, height, width, channels)`, or `(n, height, width)` for grey images. The array is not
            copied, so it must not be changed afterwards.
        labels: `n` whole numbers from 0 to `len(class_names) - 1`.
        class_names: name of class 0, 1, ...
        splits: the official split of each example, if there are official splits.

    Raises:
        DataError: images or labels have another shape or dtype.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        labels: Any,
        class_names: Sequence[str],
        *,
        splits: Sequence[str] | None = None,
    ) -> None:
        self.left_out = left_out_table()
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DataError(
                f"images of {name!r} are {images.dtype} {images.shape}: they must be uint8 (n, height, width) or "
                "(n, height, width, channels) in 0..255"
            )
        labels = as_labels(labels, f"labels of {name!r}")
        if len(labels) != len(images):
            raise DataError(f"{name!r} has {len(images)} images but {len(labels)} labels: give one label per image")
        self.name = name
        self.class_names = tuple(class_names)
        self.images = np.ascontiguousarray(images if images.ndim == 4 else images[..., np.newaxis])
        shapes = np.broadcast_to(self.images.shape[1:], (len(images), 3))
        digests = array_digests(self.images)
        self.manifest = build_manifest(name, labels=labels, digests=digests, shapes=shapes, splits=splits)

    @functools.cached_property
    def brightest(self) -> int:
        """The greatest value of all pixels; 0 if there is none."""
        return int(self.images.max(initial=0))

    def read(self, row: int) -> np.ndarray:
        """Reads `uint8` pixels `(height, width, channels)` of one example."""
        return self.images[row]


def no_damage() -> pd.DataFrame:
    """Makes the `damaged` table of a source whose examples can all be read."""
    return pd.DataFrame({"key": [], "reason": []}, dtype="str")


def build_manifest(
    source: str,
    *,
    labels: Sequence[int] | np.ndarray,
    digests: Sequence[str],
    shapes: Any,
    keys: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Makes the manifest of a source from its columns; row is the position.

    Args:
        source: name of the source.
        labels: class number of each example.
        digests: 32 hex digits for each example.
        shapes: (height, width, channels) of each example.
        keys: unique names; by default "00012", or "train/00012" if there are splits.
        paths: the files; by default "".
        splits: the official splits; by default "".
    """
    count = len(labels)
    official = _texts("" if splits is None else splits, count)
    heights, widths, channels = np.asarray(shapes, dtype=np.int64).reshape(-1, 3).T
    return pd.DataFrame(
        {
            "key": _texts(_numbered_keys(pd.Series(official)) if keys is None else keys, count),
            "path": _texts("" if paths is None else paths, count),
            "row": np.arange(count),
            "label": np.asarray(labels, dtype=np.int64),
            "source": _texts(source, count),
            "group": _texts("", count),
            "split": official,
            "digest": _texts(digests, count),
            "height": heights,
            "width": widths,
            "channels": channels,
        }
    )


def _texts(values: Any, count: int) -> Any:
    """Returns a column of `str`: of many values, or of one value many times."""
    return pd.array(np.repeat(values, count) if isinstance(values, str) else values, dtype="str")


def _numbered_keys(splits: pd.Series) -> list[str]:
    numbers = splits.groupby(splits).cumcount()
    return [
        f"{split}/{number:05d}" if split else f"{number:05d}" for split, number in zip(splits, numbers, strict=True)
    ]


def as_labels(labels: Any, what: str) -> np.ndarray:
    """Converts labels to `int64` `(n,)`; a column `(n, 1)` is accepted.

    Raises:
        DataError: they are not whole numbers from 0 on, one per example; the message begins with `what`.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{what} are {labels.dtype} {labels.shape}: they must be whole numbers (n,), one class number per example"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= 2**31):
        raise DataError(f"{what} run from {labels.min()} to {labels.max()}: they must be class numbers from 0 on")
    return labels.astype(np.int64)


def array_digests(images: np.ndarray) -> list[str]:
    """Computes blake2b-128 over the shape and the pixels of each image, as 32 hex digits.

    Args:
        images: `uint8` `(n, height, width, channels)`.
    """
    start = hashlib.blake2b(repr(images.shape[1:]).encode(), digest_size=16)
    rows = np.ascontiguousarray(images).reshape(len(images), math.prod(images.shape[1:]))

    def digest(pixels: np.ndarray) -> str:
        state = start.copy()
        state.update(pixels.data)
        return state.hexdigest()

    if rows.nbytes < _THREADED_FROM_BYTES * len(rows):
        return [digest(pixels) for pixels in rows]
    with ThreadPoolExecutor(count_cores()) as pool:
        return list(pool.map(digest, rows))


_THREADED_FROM_BYTES = 65536  # per image; for smaller ones, passing work to a thread costs more than hashing


def check_source(source: Source) -> None:
    """Checks that a source keeps the contract, which a plug-in may break.

    Raises:
        DataError: it does not; the message says where.
    """
    manifest = source.manifest
    what = f"the manifest of source {source.name!r}"
    missing = [name for name in (*TEXT_COLUMNS, *NUMBER_COLUMNS) if name not in manifest]
    if missing:
        raise DataError(f"{what} lacks the columns {', '.join(missing)}: make it with build_manifest")
    if manifest.empty:
        raise DataError(f"source {source.name!r} has no examples: check its path")
    for column in NUMBER_COLUMNS:
        if not pd.api.types.is_integer_dtype(manifest[column]):
            raise DataError(f"column {column} of {what} holds {manifest[column].dtype}: it must hold whole numbers")
    if manifest["key"].duplicated().any():
        key = manifest["key"][manifest["key"].duplicated()].iloc[0]
        raise DataError(f"key {key!r} is twice in {what}: give every example its own key")
    for column, pattern in (("digest", "[0-9a-f]{32}"), ("split", "|".join(("", *SPLITS)))):
        bad = manifest[column][~manifest[column].astype("str").str.fullmatch(pattern)]
        if not bad.empty:
            raise DataError(
                f"column {column} of {what} holds {bad.iloc[0]!r} in row {bad.index[0]}: it must be {pattern}"
            )
    unknown = set(left_out_of(source)["kind"]) - set(KINDS)
    if unknown:
        raise DataError(f"source {source.name!r} leaves out {sorted(unknown)}: kinds are {', '.join(KINDS)}")
    _check_classes(source)


def _check_classes(source: Source) -> None:
    names, labels = source.class_names, source.manifest["label"]
    if len(names) < 2 or len(set(names)) < len(names):
        raise DataError(
            f"source {source.name!r} has the classes {list(names)}: at least two with different names are needed"
        )
    absent = np.setdiff1d(np.arange(len(names)), labels)
    if labels.min() < 0 or labels.max() >= len(names) or absent.size:
        lacking = f", without {', '.join(map(str, absent[:5]))}" if absent.size else ""
        raise DataError(
            f"labels of {source.name!r} run from {labels.min()} to {labels.max()}{lacking}: its {len(names)} classes "
            f"need every label from 0 to {len(names) - 1}"
        )
