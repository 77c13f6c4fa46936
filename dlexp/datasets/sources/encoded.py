"""Sources of encoded images, which are decoded during training: files, and images that other libraries store."""

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.sources.left_out import left_out_table
from dlexp.datasets.sources.source import build_manifest, no_damage

DECODING = {
    "orientation": 1,
    "decoder": 0,
    "bits": 16,
}  # columns that say how to decode an image; values of a plain one

_RECORDED = ("mode", "pages", "peak", "orientation", "decoder")  # facts that a manifest holds


class EncodedSource(abc.ABC):
    """Images as the bytes of files, which are decoded during training, in TensorFlow and in parallel.

    Args:
        name: name of the source.
        class_names: name of class 0, 1, ...
        manifest: as `Source` describes it. `channels` (1 or 3) is the number of channels after decoding; `row` is the
            position. Optional `int` columns are for images that are not upright or not plain: `orientation` (default
            1), `decoder` (default 0) and `peak`, as in `ImageHeader`; `use_bits` sets `bits`.
        damaged: examples that cannot be read, with the columns key and reason; none by default.
    """

    def __init__(
        self, name: str, class_names: Sequence[str], manifest: pd.DataFrame, damaged: pd.DataFrame | None = None
    ) -> None:
        self.name = name
        self.class_names = tuple(class_names)
        self.manifest = with_decoding(manifest)
        self.damaged = no_damage() if damaged is None else damaged
        self.left_out = left_out_table()

    @property
    def encoded(self) -> np.ndarray:
        """Whether the bytes of each row are an encoded image: `bool` `(n,)`."""
        return np.ones(len(self.manifest), bool)

    @abc.abstractmethod
    def read_bytes(self, row: int) -> bytes:
        """Reads the bytes of one file; called from several threads at once. May raise OSError."""

    def read(self, row: int) -> np.ndarray:
        """Reads `uint8` pixels `(height, width, channels)` of one example, decoded as in training.

        Raises:
            OSError: the file cannot be read.
            ValueError: the image is damaged.
        """
        from dlexp.datasets.images.decoding import decode_bytes  # imported here: to open a source needs no TensorFlow

        example = self.manifest.iloc[row]
        how = {name: int(example[name]) for name in ("channels", *DECODING)}
        return decode_bytes(self.read_bytes(row), **how)


class FileSource(EncodedSource):
    """Image files, whose paths are in the manifest."""

    @classmethod
    def of_files(
        cls,
        name: str,
        root: str,
        files: Sequence[str],
        facts: pd.DataFrame,
        *,
        labels: Sequence[int],
        class_names: Sequence[str],
        splits: Sequence[str] | None = None,
    ) -> "FileSource":
        """Makes a source of files that `scan_files` has read; damaged files are left out.

        Args:
            name: name of the source.
            root: absolute path of the folder of the files.
            files: paths below it; the keys of the examples.
            facts: from `scan_files`.
            labels: class number of each file; any number for a damaged file.
            class_names: name of class 0, 1, ...
            splits: the official split of each file, if there are official splits.
        """
        paths = [f"{root}/{file}" for file in files]
        manifest, damaged = encoded_manifest(name, facts, labels=labels, keys=files, paths=paths, splits=splits)
        return cls(name, class_names, manifest, damaged)

    def read_bytes(self, row: int) -> bytes:
        """Reads the bytes of one file."""
        with open(self.manifest["path"].iloc[row], "rb") as file:
            return file.read()


def encoded_manifest(source: str, facts: pd.DataFrame, **columns: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Makes the manifest of the images that can be decoded, and a table of the others with the columns key and reason.

    Args:
        source: name of the source.
        facts: one row per image, with the columns of `FACTS` in `dlexp.datasets.images.file_facts`.
        columns: other arguments of `build_manifest`, one value per image; a damaged image may have any label.
    """
    intact = (facts["damage"] == "").to_numpy()
    channels = facts["channels"].max()  # the same for all images: colour if one of them is, else grey
    manifest = build_manifest(
        source,
        digests=facts["digest"].array,
        shapes=facts[["height", "width", "channels"]].assign(channels=channels),
        **columns,
    ).assign(**{name: facts[name].array for name in _RECORDED})
    damaged = pd.DataFrame({"key": manifest["key"], "reason": facts["damage"].array})[~intact]
    if not intact.all():
        manifest = manifest[intact].reset_index(drop=True).assign(row=np.arange(intact.sum()))
    return manifest, damaged.reset_index(drop=True)


def with_decoding(manifest: pd.DataFrame) -> pd.DataFrame:
    """Adds the columns of `DECODING` to a manifest; missing values are those of a plain image."""
    columns = {
        name: manifest[name].fillna(plain).astype("int64") if name in manifest else plain
        for name, plain in DECODING.items()
    }
    return manifest.assign(**columns)
