"""Sources of encoded images: files, and what other libraries store; decoded in training, in parallel."""

import abc
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.sources.source import build_manifest, no_damage

DECODING = {"orientation": 1, "decoder": 0}  # what says how an image is decoded, with the value of a plain one


class EncodedSource(abc.ABC):
    """Images as the bytes of files, which a training decodes inside TensorFlow and in parallel.

    Args:
        name: what the source is called.
        class_names: name of class 0, 1, ...
        manifest: as `Source` describes it. `channels`, 1 or 3, is what an image is decoded to; `row` is the position.
            Two more columns of `int` are for images that are not upright or not plain: `orientation` (1 where absent)
            and `decoder` (0 where absent), as in `ImageHeader`.
        damaged: what cannot be read, with the columns key and reason; none by default.
    """

    def __init__(
        self, name: str, class_names: Sequence[str], manifest: pd.DataFrame, damaged: pd.DataFrame | None = None
    ) -> None:
        self.name = name
        self.class_names = tuple(class_names)
        self.manifest = with_decoding(manifest)
        self.damaged = no_damage() if damaged is None else damaged

    @property
    def encoded(self) -> np.ndarray:
        """`bool` `(n,)`, whether the bytes of each row are an encoded image."""
        return np.ones(len(self.manifest), bool)

    @abc.abstractmethod
    def read_bytes(self, row: int) -> bytes:
        """The bytes of one file; called from several threads at once. May raise OSError."""

    def read(self, row: int) -> np.ndarray:
        """`uint8` pixels `(height, width, channels)` of one example, decoded as in training.

        Raises:
            OSError: it is not there.
            ValueError: it is damaged.
        """
        from dlexp.datasets.images.decoding import decode_bytes  # here, since opening a source needs no TensorFlow

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
        """Makes the source of files that `scan_files` has read; those that are damaged become no examples.

        Args:
            name: what the source is called.
            root: absolute path of the folder that they are in.
            files: paths below it; the keys of the examples.
            facts: from `scan_files`.
            labels: class number of each; of damaged ones any.
            class_names: name of class 0, 1, ...
            splits: the official split of each, if there are official splits.
        """
        paths = [os.path.join(root, file) for file in files]
        manifest, damaged = encoded_manifest(name, facts, labels=labels, keys=files, paths=paths, splits=splits)
        return cls(name, class_names, manifest, damaged)

    def read_bytes(self, row: int) -> bytes:
        """The bytes of one file."""
        with open(self.manifest["path"].iloc[row], "rb") as file:
            return file.read()


def encoded_manifest(source: str, facts: pd.DataFrame, **columns: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The manifest of the images that can be decoded, and a table of the others with the columns key and reason.

    Args:
        source: name of the source.
        facts: one row an image, with the columns of `FACTS` in `dlexp.datasets.images.file_facts`.
        columns: what else `build_manifest` takes, one value an image; labels of those that are damaged may be any.
    """
    sound = (facts["damage"] == "").to_numpy()
    channels = facts["channels"].max()  # of all images alike: grey, or colour as soon as one is
    manifest = build_manifest(
        source,
        digests=facts["digest"].tolist(),
        shapes=facts[["height", "width", "channels"]].assign(channels=channels),
        **columns,
    ).assign(**{name: facts[name].array for name in ("mode", *DECODING)})
    damaged = pd.DataFrame({"key": manifest["key"], "reason": facts["damage"].array})[~sound]
    manifest = manifest[sound].assign(row=np.arange(sound.sum()))
    return manifest.reset_index(drop=True), damaged.reset_index(drop=True)


def with_decoding(manifest: pd.DataFrame) -> pd.DataFrame:
    """A manifest with the columns of `DECODING`; what it does not say is that of a plain image."""
    columns = {
        name: manifest[name].fillna(plain).astype("int64") if name in manifest else plain
        for name, plain in DECODING.items()
    }
    return manifest.assign(**columns)
