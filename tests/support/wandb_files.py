"""What W&B has written on the disk: the records of a `.wandb` file, as points, pictures and histograms."""

import json
import pathlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

# The log format of LevelDB (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind a header of its own.
_BLOCK, _FILE_HEADER, _RECORD_HEADER = 32768, 7, struct.Struct("<IHB")
_FULL, _LAST = 1, 4


@dataclass
class WandbContents:
    """What one `.wandb` file holds.

    Attributes:
        points: (key, step, value), as they come.
        media: (key, step, JSON value) of pictures and histograms.
        config: the params.
        summary: the last values by key.
        exit_code: None where the run was not finished.
    """

    points: list[tuple[str, int, float]] = field(default_factory=list)
    media: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    run: Any = None
    exit_code: int | None = None


def read_wandb(folder: pathlib.Path) -> WandbContents:
    """Reads the only offline run below a folder."""
    (path,) = folder.rglob("*.wandb")
    contents = WandbContents()
    for record in map(Record.FromString, _payloads(path.read_bytes())):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            _add_row(contents, _values(record.history.item))
        elif kind == "run":
            contents.run = record.run
            contents.config |= _values(record.run.config.update)
        elif kind == "config":
            contents.config |= _values(record.config.update)
        elif kind == "summary":
            contents.summary |= _values(record.summary.update)
        elif kind == "exit":
            contents.exit_code = record.exit.exit_code
    return contents


def _add_row(contents: WandbContents, row: dict[str, Any]) -> None:
    step = row.pop("global_step")
    contents.times.append(row["_timestamp"])
    for key, value in row.items():
        if isinstance(value, dict):
            contents.media.append((key, step, value))
        elif not key.startswith("_"):
            contents.points.append((key, step, value))


def _values(items: Any) -> dict[str, Any]:
    """Nested keys are joined to one again: `("val", "loss")` is how a file may hold `val.loss`."""
    found: dict[str, Any] = {}
    for item in items:
        path = list(item.nested_key) or [item.key]
        value = json.loads(item.value_json)
        if len(path) == 1:
            found[path[0]] = value
        else:
            inside = found.setdefault(path[0], {})
            for part in path[1:-1]:
                inside = inside.setdefault(part, {})
            inside[path[-1]] = value
    return found


def _payloads(contents: bytes) -> Iterator[bytes]:
    assert contents[:4] == b":W&B"
    position, parts = _FILE_HEADER, b""
    while position + _RECORD_HEADER.size <= len(contents):
        left = _BLOCK - position % _BLOCK
        if left < _RECORD_HEADER.size:
            position += left
            continue
        _, length, kind = _RECORD_HEADER.unpack_from(contents, position)
        position += _RECORD_HEADER.size
        parts += contents[position : position + length]
        position += length
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""
