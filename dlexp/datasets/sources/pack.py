"""Datasets packed into a few large files, for disks on which a million small ones are slow.

A pack is a folder of TFRecord shards (https://www.tensorflow.org/tutorials/load_data/tfrecord) with one record per
image: the bytes of its file, or its pixels if there was no file. In the same folder, `manifest.parquet` says where each
record is, so that examples can be read in any order, `left_out.parquet` lists what the source left out, and `pack.json`
has the class names. The pack has the name, the order and the ID of the dataset.
"""

import hashlib
import os
import pathlib
import weakref

import numpy as np
import pandas as pd

from dlexp.datasets.sources.encoded import EncodedSource
from dlexp.datasets.sources.left_out import left_out_table
from dlexp.datasets.sources.source import Source, array_digests
from dlexp.errors import DataError
from dlexp.machine.json_files import read_json
from dlexp.registry import register_source

PACK_MANIFEST_FILE, LEFT_OUT_FILE, PACK_FILE = "manifest.parquet", "left_out.parquet", "pack.json"
FORMAT_VERSION = 1
HEADER_BYTES, FOOTER_BYTES = 12, 4  # of a record: its length and two checksums
PLACE_COLUMNS = ("shard", "offset", "length", "encoded")


@register_source("pack")
def open_pack(spec: str, *, data_dir: str, reread: bool = False) -> Source:
    """Opens a folder that `dlexp data pack` wrote; `reread` compares every byte with the digests of the dataset.

    Raises:
        DataError: the folder does not exist, is not complete, or is damaged.
    """
    folder = pathlib.Path(data_dir, spec)
    if not spec or not (folder / PACK_FILE).is_file():
        raise DataError(
            f"folder {str(folder)!r} is not a finished pack: give --dataset=pack:PATH one that dlexp data pack wrote"
        )
    try:
        description = read_json(folder / PACK_FILE)
        manifest = pd.read_parquet(folder / PACK_MANIFEST_FILE)
        left_out = _read_left_out(folder / LEFT_OUT_FILE)
        name, class_names = description["name"], tuple(description["class_names"])
        sizes = [path.stat().st_size for path in list_shards(folder)]
        missing = [column for column in PLACE_COLUMNS if column not in manifest]
    except (OSError, ValueError, KeyError) as err:
        raise DataError(f"pack {str(folder)!r} is damaged: {err}: pack the dataset again") from err
    if sizes != description["shard_bytes"] or missing:
        raise DataError(
            f"pack {str(folder)!r} is damaged: its shards have {sizes} bytes, but had {description['shard_bytes']} "
            "when they were written: pack the dataset again"
        )
    source = PackSource(name, class_names, manifest, list_shards(folder))
    source.left_out = left_out
    if reread:
        source.check_digests()
    return source


def _read_left_out(path: pathlib.Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.exists() else left_out_table()  # early packs have none


class PackSource(EncodedSource):
    """The images of a pack.

    Args:
        name: name of the source that was packed.
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
        """Whether the bytes of each row are an encoded image, `bool` `(n,)`; if not, they are pixels."""
        return self._encoded

    def read_bytes(self, row: int) -> bytes:
        """Reads the bytes of one record."""
        shard, offset, length = self._places[row].tolist()
        return os.pread(self._files[shard], length, offset)

    def read(self, row: int) -> np.ndarray:
        """Reads `uint8` pixels `(height, width, channels)` of one example."""
        if self.encoded[row]:
            return super().read(row)
        example = self.manifest.iloc[row]
        return np.frombuffer(self.read_bytes(row), np.uint8).reshape(example["height"], example["width"], -1)

    def check_digests(self) -> None:
        """Reads every byte. Raises DataError for the first example whose bytes are not those that were packed."""
        for row, (key, digest) in enumerate(self.manifest[["key", "digest"]].itertuples(index=False)):
            contents = self.read_bytes(row)
            if self.encoded[row]:
                found = hashlib.blake2b(contents, digest_size=16).hexdigest()
            else:
                found = array_digests(self.read(row)[np.newaxis])[0]
            if found != digest:
                raise DataError(f"{key!r} in pack {self.name!r} is damaged: pack the dataset again")


def list_shards(folder: pathlib.Path) -> list[pathlib.Path]:
    """Lists the shards of a pack, in the order of their numbers."""
    return sorted(folder.glob("shard-*.tfrecord"))
