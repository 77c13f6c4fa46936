"""Writes a dataset into a pack: a few large files, for `--dataset=pack:PATH`."""

import itertools
import pathlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.sources.combined import are_encoded, damage_of, read_encoded
from dlexp.datasets.sources.left_out import left_out_of, left_out_table
from dlexp.datasets.sources.pack import (
    FOOTER_BYTES,
    FORMAT_VERSION,
    HEADER_BYTES,
    LEFT_OUT_FILE,
    PACK_FILE,
    PACK_MANIFEST_FILE,
    PLACE_COLUMNS,
    list_shards,
)
from dlexp.datasets.sources.source import Source
from dlexp.errors import DataError
from dlexp.machine.atomic import atomic_file
from dlexp.machine.json_files import write_json
from dlexp.machine.progress_bar import track


def write_pack(dataset: Dataset, folder: pathlib.Path, *, shard_bytes: int = 2**28) -> None:
    """Writes all splits of a dataset into a new or empty folder, with the list of what its source leaves out.

    Args:
        dataset: the dataset to write.
        folder: folder of the pack.
        shard_bytes: approximate size of a shard.

    Raises:
        DataError: the folder is not empty, or an image cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"folder {str(folder)!r} is not empty: give --output a new one")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = dataset.source.manifest.reset_index(drop=True)
    records = track(_records(dataset.source, manifest), len(manifest), "packing images")
    places = pd.DataFrame(_write_shards(records, folder, shard_bytes), columns=list(PLACE_COLUMNS))
    manifest = manifest.drop(columns=[*PLACE_COLUMNS], errors="ignore")  # they exist if a pack is packed again
    packed = pd.concat([manifest.assign(path="", row=np.arange(len(manifest))), places], axis="columns")
    with atomic_file(folder / PACK_MANIFEST_FILE) as temporary:
        packed.to_parquet(temporary, index=False)
    with atomic_file(folder / LEFT_OUT_FILE) as temporary:
        left_out_when_packed(dataset.source).to_parquet(temporary, index=False)
    description = {
        "format_version": FORMAT_VERSION,
        "name": dataset.source.name,
        "class_names": list(dataset.class_names),
        "shard_bytes": [path.stat().st_size for path in list_shards(folder)],
    }
    # The description comes last: a pack without it was not finished, and is refused.
    write_json(folder / PACK_FILE, description)


def left_out_when_packed(source: Source) -> pd.DataFrame:
    """Returns what a pack leaves out: what its source does, and the images that could not be read."""
    skipped = left_out_table((key, "unreadable", "") for key in damage_of(source)["key"])
    return pd.concat([left_out_of(source), skipped], ignore_index=True)


def _records(source: Source, manifest: pd.DataFrame) -> Iterator[tuple[bytes, bool]]:
    """Yields the bytes of each example, and whether they are an encoded image."""
    encoded = are_encoded(source)[manifest["row"]]
    for key, row, is_encoded in zip(manifest["key"], manifest["row"], encoded, strict=True):
        try:
            yield read_encoded(source, row) if is_encoded else source.read(row).tobytes(), bool(is_encoded)
        except (OSError, ValueError) as err:
            raise DataError(f"{key!r} cannot be read: {err}") from err


def _write_shards(
    records: Iterator[tuple[bytes, bool]], folder: pathlib.Path, shard_bytes: int
) -> Iterator[tuple[int, int, int, bool]]:
    """Writes the records; yields shard, offset, length and `encoded` of each."""
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
                yield shard, position + HEADER_BYTES, len(contents), encoded
                position += HEADER_BYTES + len(contents) + FOOTER_BYTES
                remaining = next(records, None)
