"""The `.keras` archive of a network: saved by Keras once, then written again with other weights.

Two archives of a network differ only in the bytes of their weights. Keras takes 15 to 30 ms for a save and leaks 70 KB
of native memory (`save_weights`, Keras 3.15). Writing new weights between the bytes of the first save costs neither.
"""

import contextlib
import pathlib
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from dlexp.checkpoints.names import SUFFIX
from dlexp.machine.atomic import TEMPORARY_PREFIX
from dlexp.models.keras_internals import DATE_MEMBER, WEIGHTS_MEMBER, find_arrays, with_date


@dataclass(frozen=True)
class _Layout:
    """An archive with gaps where the weights go.

    Attributes:
        members: contents of all members but the weights' one, by name.
        pieces: the weights' member in order: bytes to copy, or the index of a weight to insert.
    """

    members: Mapping[str, bytes]
    pieces: Sequence[bytes | int]


class NetworkArchive:
    """Writes `.keras` archives of one network.

    Args:
        network: compiled; its weights get overwritten.
    """

    def __init__(self, network: keras.Model) -> None:
        self._network = network
        self._layout: _Layout | None = None
        self._looked_for_layout = False

    def write(self, archive: zipfile.ZipFile, weights: Sequence[np.ndarray], *, scratch: pathlib.Path) -> None:
        """Adds the members of a `.keras` archive.

        Args:
            archive: open for writing.
            weights: arrays in the order of `network.weights`.
            scratch: folder for temporary files, all of which are removed.
        """
        if not self._looked_for_layout:
            self._layout, self._looked_for_layout = self._find_layout(scratch), True
        if self._layout is None:
            self._copy(archive, weights, scratch)
        else:
            _write_layout(archive, self._layout, weights)

    def _copy(self, archive: zipfile.ZipFile, weights: Sequence[np.ndarray], scratch: pathlib.Path) -> None:
        with self._save(weights, scratch) as saved:
            for name in saved.namelist():
                archive.writestr(name, saved.read(name))

    def _find_layout(self, scratch: pathlib.Path) -> _Layout | None:
        """The layout of the network's archives; None if only Keras can write them.

        It exists if the file stores every weight with the bytes it has in memory, and no other byte depends on the
        weights. To find out, two archives with different random weights are compared. A layer that saves its weights
        in another format has no layout.
        """
        generator = np.random.default_rng(0)
        found = []
        for _ in range(2):
            weights = [_random_like(weight.numpy(), generator) for weight in self._network.weights]
            with self._save(weights, scratch) as saved:
                members = {name: saved.read(name) for name in saved.namelist()}
            pieces = _cut(members.pop(WEIGHTS_MEMBER), weights)
            found.append(_Layout(members, pieces))
        one, other = found
        return one if one.pieces == other.pieces and _names_each_once(one.pieces, len(weights)) else None

    @contextlib.contextmanager
    def _save(self, weights: Sequence[np.ndarray], scratch: pathlib.Path) -> Iterator[zipfile.ZipFile]:
        path = scratch / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:8]}{SUFFIX}"
        for weight, array in zip(self._network.weights, weights, strict=True):
            weight.assign(array)
        try:
            self._network.save(path)
            with zipfile.ZipFile(path) as saved:
                yield saved
        finally:
            path.unlink(missing_ok=True)


def _write_layout(archive: zipfile.ZipFile, layout: _Layout, weights: Sequence[np.ndarray]) -> None:
    for name, content in layout.members.items():
        archive.writestr(name, with_date(content) if name == DATE_MEMBER else content)
    with archive.open(WEIGHTS_MEMBER, "w", force_zip64=True) as member:
        for piece in layout.pieces:
            member.write(piece if isinstance(piece, bytes) else _bytes_of(weights[piece]))


def _cut(contents: bytes, weights: Sequence[np.ndarray]) -> list[bytes | int]:
    """The pieces of an HDF5 file, cut where the bytes of a weight lie."""
    numbers = {bytes(_bytes_of(weight)): number for number, weight in enumerate(weights)}
    pieces: list[bytes | int] = []
    position = 0
    for start, size in sorted(find_arrays(contents)):
        number = numbers.get(contents[start : start + size])
        if number is not None:
            pieces += [contents[position:start], number]
            position = start + size
    return [*pieces, contents[position:]]


def _names_each_once(pieces: Sequence[bytes | int], count: int) -> bool:
    return sorted(piece for piece in pieces if isinstance(piece, int)) == list(range(count))


def _random_like(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if array.dtype.kind == "b":
        return generator.integers(0, 2, array.shape).astype(bool)
    if array.dtype.kind in "iu":
        return generator.integers(0, np.iinfo(array.dtype).max, array.shape, dtype=array.dtype)
    return generator.standard_normal(array.shape, np.float32).astype(array.dtype)


def _bytes_of(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
