"""Encoded images that another library stores and reads: what TensorFlow Datasets and Hugging Face have in common."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.images.file_facts import FACTS, read_facts
from dlexp.datasets.sources.encoded import EncodedSource, encoded_manifest
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
        read: number of an example, from 0, to the bytes of its file and its label; -1 for none. Called from several
            threads at once.
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
        """The bytes of one image."""
        split, number = self._places[row]
        return split.read(number)[0]


def open_library_source(name: str, class_names: tuple[str, ...], splits: Mapping[str, LibrarySplit]) -> LibrarySource:
    """Makes a source of the splits of a stored dataset.

    Every image is read once: for its digest (of the bytes as they are stored), its size and a search for damage.
    Splits with other names than train, validation (or val, valid) and test are left out, as are those without labels,
    which many benchmarks have for a test that only their makers can grade.

    Args:
        name: what the source is called.
        class_names: name of class 0, 1, ...
        splits: as the library names them.

    Raises:
        DataError: no split is left.
    """
    tables, places = [], []
    for given, split in splits.items():
        if given not in SPLIT_NAMES or not split.count:
            continue
        facts = _inspect(split, f"reading {given}")
        if (facts["label"] == _UNLABELLED).all():
            continue
        tables.append(facts.assign(split=SPLIT_NAMES[given]))
        places += [(split, number) for number in range(split.count)]
    if not tables:
        raise DataError(
            f"dataset {name!r} has the splits {', '.join(splits) or '(none)'}: at least one of train, validation and "
            "test, with labels, is needed"
        )
    return _build(name, class_names, pd.concat(tables, ignore_index=True), places)


def _build(
    name: str, class_names: tuple[str, ...], facts: pd.DataFrame, places: list[tuple[LibrarySplit, int]]
) -> LibrarySource:
    labels = as_labels(facts["label"].to_numpy(), f"labels of {name!r}")
    manifest, damaged = encoded_manifest(name, facts, labels=labels, splits=facts["split"].tolist())
    sound = np.flatnonzero(facts["damage"] == "")
    return LibrarySource(name, class_names, manifest, damaged, [places[row] for row in sound])


def _inspect(split: LibrarySplit, doing: str) -> pd.DataFrame:
    """One row an example: its `FACTS`, as of a file, and its label."""

    def inspect(number: int) -> tuple[Any, ...]:
        contents, label = split.read(number)
        return *read_facts(contents), label

    with ThreadPoolExecutor() as pool:
        inspected = track(pool.map(inspect, range(split.count)), split.count, doing)
        return pd.DataFrame(inspected, columns=[*FACTS, "label"]).astype({"digest": "str", "damage": "str"})
