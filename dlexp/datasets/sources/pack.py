"""Datasets packed into a few large files, for disks on which a million small ones are slow.

A pack is a folder of TFRecord shards (https://www.tensorflow.org/tutorials/load_data/tfrecord), a record an image: the
bytes of its file, or its pixels where there was no file. Beside them `manifest.parquet` says where each record is, so
that examples are read in any order, and `pack.json` has the class names. Name, order and ID of the dataset stay.
"""

import hashlib
import itertools
import json
import os
import pathlib
import weakref
from collections.abc import Iterator

import numpy as np
import pandas as pd

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.images.scan import believes_memory
from dlexp.datasets.sources.combined import are_encoded, read_encoded
from dlexp.datasets.sources.encoded import EncodedSource
from dlexp.datasets.sources.source import Source, array_digests
from dlexp.errors import DataError
from dlexp.machine.atomic import atomic_file, write_text_atomically
from dlexp.machine.waiting import track
from dlexp.registry import register_source

MANIFEST_FILE, DESCRIPTION_FILE = "manifest.parquet", "pack.json"
_FORMAT_VERSION = 1
_HEADER_BYTES, _FOOTER_BYTES = 12, 4  # of a record: its length and two checksums
_WHERE = ("shard", "offset", "length", "encoded")


def write_pack(dataset: Dataset, folder: pathlib.Path, *, shard_bytes: int = 2**28) -> None:
    """Writes a dataset, all its splits, into a folder that is not there yet, or empty.

    Args:
        dataset: what to write.
        folder: where to.
        shard_bytes: about the size of a shard.

    Raises:
        DataError: the folder is not empty, or an image cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"folder {str(folder)!r} is not empty: give --output a new one")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = dataset.source.manifest.reset_index(drop=True)
    records = track(_records(dataset.source, manifest), len(manifest), "packing images")
    places = pd.DataFrame(_write_shards(records, folder, shard_bytes), columns=list(_WHERE))
    manifest = manifest.drop(columns=[*_WHERE], errors="ignore")  # of a pack that is packed again
    packed = pd.concat([manifest.assign(path="", row=np.arange(len(manifest))), places], axis="columns")
    with atomic_file(folder / MANIFEST_FILE) as temporary:
        packed.to_parquet(temporary, index=False)
    description = {
        "format_version": _FORMAT_VERSION,
        "name": dataset.source.name,
        "class_names": list(dataset.class_names),
        "shard_bytes": [path.stat().st_size for path in _shards(folder)],
    }
    # The description comes last: a pack without it was not finished, and is refused.
    write_text_atomically(folder / DESCRIPTION_FILE, json.dumps(description, indent=2) + "\n")


@register_source("pack")
def open_pack(spec: str, *, data_dir: str) -> Source:
    """A folder that `dlexp data pack` wrote.

    Raises:
        DataError: the folder is not there, was not written to its end, or is damaged.
    """
    folder = pathlib.Path(data_dir, spec)
    if not spec or not (folder / DESCRIPTION_FILE).is_file():
        raise DataError(
            f"folder {str(folder)!r} is no finished pack: give --dataset=pack:PATH one that dlexp data pack wrote"
        )
    try:
        description = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))
        manifest = pd.read_parquet(folder / MANIFEST_FILE)
        name, class_names = description["name"], tuple(description["class_names"])
        sizes = [path.stat().st_size for path in _shards(folder)]
        missing = [column for column in _WHERE if column not in manifest]
    except (OSError, ValueError, KeyError) as err:
        raise DataError(f"pack {str(folder)!r} is damaged: {err}: pack the dataset anew") from err
    if sizes != description["shard_bytes"] or missing:
        raise DataError(
            f"pack {str(folder)!r} is damaged: its shards are of {sizes} bytes, and were of "
            f"{description['shard_bytes']}: pack the dataset anew"
        )
    source = PackSource(name, class_names, manifest, _shards(folder))
    if not believes_memory():
        source.check_digests()
    return source


class PackSource(EncodedSource):
    """The images of a pack.

    Args:
        name: of the source that was packed.
        class_names: name of class 0, 1, ...
        manifest: as `Source` describes it, with the columns shard, offset, length, and whether the bytes are an
            `encoded` image or pixels.
        shards: paths of the files.
    """

    def __init__(
        self, name: str, class_names: tuple[str, ...], manifest: pd.DataFrame, shards: list[pathlib.Path]
    ) -> None:
        super().__init__(name, class_names, manifest)
        self._files = [os.open(shard, os.O_RDONLY) for shard in shards]
        for file in self._files:
            weakref.finalize(self, os.close, file)
        self._encoded = manifest["encoded"].to_numpy(dtype=bool)
        self._places = manifest[["shard", "offset", "length"]].to_numpy()

    @property
    def encoded(self) -> np.ndarray:
        """`bool` `(n,)`: where there was no file, the bytes are pixels."""
        return self._encoded

    def read_bytes(self, row: int) -> bytes:
        """The bytes of one record."""
        shard, offset, length = self._places[row].tolist()
        return os.pread(self._files[shard], length, offset)

    def read(self, row: int) -> np.ndarray:
        """`uint8` pixels `(height, width, channels)` of one example."""
        if self.encoded[row]:
            return super().read(row)
        example = self.manifest.iloc[row]
        return np.frombuffer(self.read_bytes(row), np.uint8).reshape(example["height"], example["width"], -1)

    def check_digests(self) -> None:
        """Reads every byte. Raises DataError, naming the first example whose bytes are not those that were packed."""
        for row, (key, digest) in enumerate(self.manifest[["key", "digest"]].itertuples(index=False)):
            contents = self.read_bytes(row)
            if self.encoded[row]:
                found = hashlib.blake2b(contents, digest_size=16).hexdigest()
            else:
                found = array_digests(self.read(row)[np.newaxis])[0]
            if found != digest:
                raise DataError(f"{key!r} in pack {self.name!r} is damaged: pack the dataset anew")


def _records(source: Source, manifest: pd.DataFrame) -> Iterator[tuple[bytes, bool]]:
    """Bytes of each example, and whether they are an encoded image."""
    encoded = are_encoded(source)[manifest["row"]]
    for key, row, is_encoded in zip(manifest["key"], manifest["row"], encoded, strict=True):
        try:
            yield read_encoded(source, row) if is_encoded else source.read(row).tobytes(), bool(is_encoded)
        except (OSError, ValueError) as err:
            raise DataError(f"{key!r} cannot be read: {err}") from err


def _write_shards(
    records: Iterator[tuple[bytes, bool]], folder: pathlib.Path, shard_bytes: int
) -> Iterator[tuple[int, int, int, bool]]:
    """Writes the records; gives shard, offset, length and `encoded` of each."""
    from tensorflow.io import TFRecordWriter

    remaining = next(records, None)
    for shard in itertools.count():
        if remaining is None:
            return
        position = 0
        with TFRecordWriter(str(folder / f"shard-{shard:05d}.tfrecord")) as writer:
            while remaining is not None and position < shard_bytes:
                contents, encoded = remaining
                writer.write(contents)
                yield shard, position + _HEADER_BYTES, len(contents), encoded
                position += _HEADER_BYTES + len(contents) + _FOOTER_BYTES
                remaining = next(records, None)


def _shards(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("shard-*.tfrecord"))
