"""Sources of IDX files: MNIST, Fashion-MNIST and the like (http://yann.lecun.com/exdb/mnist, "the IDX file format")."""

import gzip
import math
import pathlib
import struct
import zlib
from typing import BinaryIO

import numpy as np

from dlexp.datasets.sources.left_out import left_out_table
from dlexp.datasets.sources.source import ArraySource, Source
from dlexp.errors import DataError
from dlexp.machine.capacity import check_fits_memory
from dlexp.registry import register_source

_PREFIXES = {"train": "train", "test": "t10k"}
_ENDING = "-ubyte"
_DEFLATE_MAX_RATIO = 1032  # the most that RFC 1951 allows; a header that claims more is damaged or hostile


@register_source("idx")
def open_idx(spec: str, *, data_dir: str) -> Source:
    """Opens the two official splits of a folder of IDX files, gzipped or not.

    The folder holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    `t10k-labels-idx1-ubyte`, each optionally with `.gz` or with a dot before `idx`, and optionally `class_names.txt`
    with one name per line. Other IDX files are left out. Sizes are checked before memory is allocated.

    Raises:
        DataError: a file is missing, damaged, or not an IDX file.
    """
    folder = pathlib.Path(data_dir, spec)
    if not spec or not folder.is_dir():
        raise DataError(f"there is no folder {str(folder)!r}: give --dataset=idx:PATH the folder of the IDX files")
    images, labels = [], []
    for prefix in _PREFIXES.values():
        images.append(_read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), dimensions=3))
        labels.append(_read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), dimensions=1))
        if len(images[-1]) != len(labels[-1]):
            raise DataError(
                f"folder {str(folder)!r} has {len(images[-1])} images but {len(labels[-1])} labels in its "
                f"{prefix}-* files: use two files that belong together"
            )
    if images[0].shape[1:] != images[1].shape[1:]:
        raise DataError(
            f"images of {str(folder)!r} are {images[0].shape[1:]} in train and {images[1].shape[1:]} in t10k: use "
            "files whose images have one size"
        )
    splits = np.repeat(list(_PREFIXES), [len(array) for array in images])
    all_labels = np.concatenate(labels)
    names = _class_names(folder, int(all_labels.max()) + 1)
    source = ArraySource(folder.resolve().name, np.concatenate(images), all_labels, names, splits=splits.tolist())
    source.left_out = left_out_table((name, "array", "") for name in _other_idx_files(folder))
    return source


def _other_idx_files(folder: pathlib.Path) -> list[str]:
    """Lists the IDX files that are not read; a compressed copy of one that is read is none of them."""
    stems = [f"{prefix}-{what}" for prefix in _PREFIXES.values() for what in ("images-idx3", "labels-idx1")]
    names = sorted(path.name for path in folder.iterdir() if path.name.removesuffix(".gz").endswith(_ENDING))
    return [name for name in names if name.replace(".idx", "-idx").partition(_ENDING)[0] not in stems]


def _class_names(folder: pathlib.Path, num_classes: int) -> list[str]:
    file = folder / "class_names.txt"
    if not file.exists():
        return [str(number) for number in range(num_classes)]
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as err:
        raise DataError(f"file {str(file)!r} is not UTF-8 text ({err}): write one class name per line") from err


def _find(folder: pathlib.Path, name: str) -> pathlib.Path:
    dotted = name.replace("-idx", ".idx")
    for path in (folder / name, folder / dotted, folder / f"{name}.gz", folder / f"{dotted}.gz"):
        if path.is_file():
            return path
    raise DataError(f"folder {str(folder)!r} has neither {name} nor {name}.gz: an IDX dataset needs it")


def _read_idx(path: pathlib.Path, *, dimensions: int) -> np.ndarray:
    """Reads the `uint8` array of one file."""
    compressed = path.suffix == ".gz"
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            return _read_stream(file, path, dimensions)  # type: ignore[arg-type]
    except (OSError, EOFError, zlib.error) as err:
        raise DataError(f"file {str(path)!r} is damaged: {err}; fetch it again") from err


def _read_stream(file: BinaryIO, path: pathlib.Path, dimensions: int) -> np.ndarray:
    header_bytes = 4 + 4 * dimensions
    header = file.read(header_bytes)
    magic = 0x0800 + dimensions  # 0x08: unsigned byte
    if len(header) < header_bytes or struct.unpack(">I", header[:4])[0] != magic:
        raise DataError(
            f"file {str(path)!r} begins with 0x{header[:4].hex()}: an IDX file of {dimensions} dimensions of bytes "
            f"begins with 0x{magic:08x}"
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    expected = math.prod(shape)
    stored = path.stat().st_size
    most = stored * _DEFLATE_MAX_RATIO if path.suffix == ".gz" else stored
    if expected + header_bytes > most:
        raise DataError(
            f"file {str(path)!r} claims {shape} bytes, which its {stored:,} bytes cannot hold: fetch it again"
        )
    if not expected:
        raise DataError(f"file {str(path)!r} holds no examples: its header says {shape}")
    check_fits_memory(2 * expected, f"reading {str(path)!r}")
    pixels = file.read(expected)
    if len(pixels) != expected or file.read(1):
        raise DataError(
            f"file {str(path)!r} does not hold the {expected:,} bytes that its header {shape} claims: fetch it again"
        )
    return np.frombuffer(pixels, np.uint8).reshape(shape)
