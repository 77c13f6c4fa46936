"""Encoded images that another library stores and reads: what TensorFlow Datasets and Hugging Face have in common."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.images.file_facts import FACTS, read_facts
from dlexp.datasets.sources.encoded import EncodedSource, encoded_manifest
from dlexp.datasets.sources.left_out import left_out_table
from dlexp.datasets.sources.source import as_labels
from dlexp.errors import DataError
from dlexp.machine.progress_bar import track

SPLIT_NAMES = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}
_UNLABELLED = -1


@dataclass(frozen=True)
class LibrarySplit:
    """One official split.

    Attributes:
        count: number of examples.
        read: maps the number of an example, from 0, to the bytes of its file and its label (-1 if it has none). Called
            from several threads at once.
    """

    count: int
    read: Callable[[int], tuple[bytes, int]]


class LibrarySource(EncodedSource):
    """Images whose bytes a library reads, decoded like files."""

    def __init__(
        self, name: str, class_names: tuple[str, ...], manifest: pd.DataFrame, damaged: pd.DataFrame, places: Any
    ) -> None:
        super().__init__(name, class_names, manifest, damaged)
        self._places = places

    def read_bytes(self, row: int) -> bytes:
        """Reads the bytes of one image."""
        split, number = self._places[row]
        return split.read(number)[0]


def open_library_source(name: str, class_names: tuple[str, ...], splits: Mapping[str, LibrarySplit]) -> LibrarySource:
    """Makes a source of the splits of a stored dataset.

    Every image is read once, to compute its digest (of the stored bytes), read its size and find damage. Splits with
    other names than train, validation (or val, valid) and test are left out. So are splits without labels, as in the
    many benchmarks that keep the labels of their test split secret.

    Args:
        name: name of the source.
        class_names: name of class 0, 1, ...
        splits: by the names that the library gives them.

    Raises:
        DataError: no split is left.
    """
    tables, places, left_out = [], [], []
    for split_name, split in splits.items():
        if split_name not in SPLIT_NAMES:
            left_out.append((split_name, "split", ""))
            continue
        if not split.count:
            continue
        facts = _inspect(split, f"reading {split_name}")
        if (facts["label"] == _UNLABELLED).all():
            left_out.append((split_name, "split", ""))
            continue
        tables.append(facts.assign(split=SPLIT_NAMES[split_name]))
        places += [(split, number) for number in range(split.count)]
    if not tables:
        raise DataError(
            f"dataset {name!r} has the splits {', '.join(splits) or '(none)'}: at least one of train, validation and "
            "test, with labels, is needed"
        )
    source = _build(name, class_names, pd.concat(tables, ignore_index=True), places)
    source.left_out = left_out_table(left_out)
    return source


def _build(
    name: str, class_names: tuple[str, ...], facts: pd.DataFrame, places: list[tuple[LibrarySplit, int]]
) -> LibrarySource:
    labels = as_labels(facts["label"].to_numpy(), f"labels of {name!r}")
    manifest, damaged = encoded_manifest(name, facts, labels=labels, splits=facts["split"].tolist())
    intact = np.flatnonzero(facts["damage"] == "")
    return LibrarySource(name, class_names, manifest, damaged, [places[row] for row in intact])


def _inspect(split: LibrarySplit, progress_text: str) -> pd.DataFrame:
    """Returns one row per example: the `FACTS` of its bytes, and its label."""

    def inspect(number: int) -> tuple[Any, ...]:
        contents, label = split.read(number)
        return *read_facts(contents), label

    with ThreadPoolExecutor() as pool:
        inspected = track(pool.map(inspect, range(split.count)), split.count, progress_text)
        return pd.DataFrame(inspected, columns=[*FACTS, "label"]).astype({"digest": "str", "damage": "str"})
