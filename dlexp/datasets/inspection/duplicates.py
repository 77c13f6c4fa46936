"""Finds images of a dataset that are copies of each other: byte for byte, or re-encoded, resized, mirrored.

How near duplicates are found, in a time that grows as n log n:
    1. Images with equal digests count as one, and so do images with equal thumbnails.
    2. The lowest frequencies of each thumbnail (a DCT without its mean, divided by the contrast) are a point in a k-d
       tree. Mirroring an image only changes the signs of its odd frequencies. So every image is first mirrored until
       its two leading odd frequencies are positive, which gives an image and its mirror image the same point. The 16
       nearest neighbours within a small radius are candidates. So thousands of copies of one image cost no more than
       as many different images: each copy leads to some others, and these lead to the rest.
    3. A candidate is a copy if the whole thumbnails agree in brightness, detail and colour.
    4. Images that copies join, directly or through others, are a group.

Measured with planted copies. Photographs of 128x128: all copies were found that were mirrored, saved as JPEG of quality
50 to 95, or resized to 0.25 to 1.5 times the size. Fashion-MNIST, 28x28: 81 % at quality 50, 98 % at 75, all at 85 or
mirrored, 95 % at 1.5 times the size, none at half. No other pairs were reported, and none in the 1,797 digits. In the
70,000 unchanged images of Fashion-MNIST, 42 pairs were reported: the same photograph, except for a few that differ in a
print.

Limits: crops, rotations by other than 180 degrees, changes of brightness or colour, and smaller copies of images of
less than 64 pixels are not found. Images whose differences a thumbnail does not show, such as two pages of text, may be
reported as copies. Blank images (a standard deviation below 4 of 255) are compared only by their digests.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.fft import dct
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.inspection.thumbnails import SIDE, Thumbnails, make_thumbnails

_LEAST_CONTRAST = 4.0  # standard deviation; below it, the errors of rounding and JPEG are as large as the image
_NOISE = 10.0  # added to each contrast, as the errors of JPEG do not shrink with the contrast
_NEIGHBOURS = 16
_CHUNK = 4096  # thumbnails in floating point at once: 17 MB

_LOW = 8  # re-encoding and resizing hardly change the frequencies below this one
_DCT = dct(np.eye(SIDE), norm="ortho", axis=0)[:_LOW].astype(np.float32)
_SEARCHED = np.array([(v, u) for v in range(_LOW) for u in range(_LOW) if 0 < v + u <= 6])
_LEADING = [_SEARCHED.tolist().index(frequency) for frequency in ([1, 0], [0, 1])]
_MIRRORS = ((1, 1), (1, -1), (-1, 1), (-1, -1))  # step along height and width; the first is the unchanged image


@dataclass(frozen=True)
class _Limits:
    """The largest differences of two copies, divided by their contrast (standard deviation of a thumbnail plus noise).

    Attributes:
        low: root mean square of the low frequencies of the difference.
        whole: root mean square of the difference.
        peak: largest difference of a pixel.
    """

    low: float
    whole: float
    peak: float


# JPEG and filters change the thumbnail of a small image more, as it averages over fewer pixels.
_LIMITS = _Limits(low=0.03, whole=0.08, peak=0.5)
_SMALL_LIMITS, _SMALL_BELOW = _Limits(low=0.035, whole=0.12, peak=0.6), 2 * SIDE
_COLOR_LIMIT = 8.0  # root mean square difference of Cb and Cr, of 255
_RADIUS = 1.5 * _SMALL_LIMITS.low  # the contrasts of copies differ a little, too


@dataclass(frozen=True)
class Duplicates:
    """Images that occur more than once.

    Attributes:
        groups: one row for each example that has a copy, groups in the order of their first examples:
            position: `int64`, the row of the manifest.
            group: `int64` from 0; equal for copies, mirrored ones included.
            upright: `int64`; equal for copies that are joined without mirroring.
        unreadable: examples that could not be compared, as they cannot be read: key, reason.
    """

    groups: pd.DataFrame
    unreadable: pd.DataFrame


def find_duplicates(dataset: Dataset, *, near_duplicates: bool = True) -> Duplicates:
    """Groups the copies in a dataset.

    Args:
        dataset: all its splits together.
        near_duplicates: whether to read the pixels; else only digests are compared, which takes no time.

    Example:
        >>> find_duplicates(open_dataset(DataConfig(dataset="digits"))).groups.groupby("group").size()
    """
    contents, _ = pd.factorize(dataset.manifest["digest"])
    firsts = np.unique(contents, return_index=True)[1]
    pairs, mirrored, reasons = np.empty((0, 2), np.int64), np.empty(0, bool), dict[int, str]()
    if near_duplicates:
        thumbnails, reasons = make_thumbnails(dataset, firsts)
        pairs, mirrored = find_near_pairs(thumbnails)
    everything = pd.DataFrame(
        {
            "position": np.arange(len(contents)),
            "group": group_pairs(len(firsts), pairs)[contents],
            "upright": group_pairs(len(firsts), pairs[~mirrored])[contents],
        }
    )
    groups = everything[everything["group"].duplicated(keep=False)]
    groups = groups.assign(group=pd.factorize(groups["group"])[0]).sort_values(["group", "position"], ignore_index=True)
    unread = np.flatnonzero(np.isin(contents, list(reasons)))
    names = {"key": dataset.manifest["key"].iloc[unread].tolist(), "reason": [reasons[c] for c in contents[unread]]}
    return Duplicates(groups, pd.DataFrame(names, dtype="str"))


def group_pairs(count: int, pairs: np.ndarray) -> np.ndarray:
    """Numbers the connected components of a graph.

    Args:
        count: number of nodes.
        pairs: `int64` `(m, 2)`, its edges.

    Returns:
        `int64` `(count,)`: equal for nodes that a path of edges joins.
    """
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def find_near_pairs(thumbnails: Thumbnails) -> tuple[np.ndarray, np.ndarray]:
    """Finds pairs of images that are copies, enough of them to join every group.

    Args:
        thumbnails: of `n` images with different digests.

    Returns:
        `int64` `(m, 2)` pairs of indices, and `bool` `(m,)`, whether one is the mirror image of the other.
    """
    contrast = np.concatenate([np.empty(0), *(_contrast(thumbnails.grey[part]) for part in _parts(len(thumbnails)))])
    comparable = np.flatnonzero(contrast >= _LEAST_CONTRAST + _NOISE)
    kept, equals = _collapse_equals(thumbnails, comparable)
    features = np.empty((len(kept), len(_SEARCHED)))
    for part in _parts(len(kept)):
        features[part] = _searched_frequencies(thumbnails.grey[kept[part]], contrast[kept[part]])
    candidates, mirrors = _find_candidates(features)
    pairs, mirrored = [equals], [np.zeros(len(equals), bool)]
    for mirror in _MIRRORS:
        chosen = kept[np.unique(np.sort(candidates[(mirrors == mirror).all(axis=1)], axis=1), axis=0)]
        copies = chosen[_are_copies(thumbnails, chosen, mirror)]
        pairs.append(copies)
        mirrored.append(np.full(len(copies), mirror != _MIRRORS[0]))
    return np.concatenate(pairs), np.concatenate(mirrored)


def _collapse_equals(thumbnails: Thumbnails, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keeps the first of equal thumbnails, as a k-d tree cannot split equal points; pairs `(m, 2)` join the rest."""
    seen: dict[bytes, int] = {}
    digests = (
        hashlib.blake2b(thumbnails.grey[i].tobytes() + thumbnails.color[i].tobytes(), digest_size=16) for i in indices
    )
    firsts = np.array([seen.setdefault(state.digest(), i) for i, state in zip(indices, digests, strict=True)], np.int64)
    repeated = firsts != indices
    return indices[~repeated], np.stack([firsts, indices], axis=1)[repeated]


def _searched_frequencies(grey: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Returns the frequencies of `_SEARCHED`, divided by the contrast: `float32` `(n, 27)`."""
    frequencies = _low_frequencies(grey.astype(np.float32))[:, _SEARCHED[:, 0], _SEARCHED[:, 1]]
    return frequencies / (SIDE * contrast[:, np.newaxis])


def _contrast(grey: np.ndarray) -> np.ndarray:
    return grey.std(axis=(1, 2), dtype=np.float32) + _NOISE


def _low_frequencies(pixels: np.ndarray) -> np.ndarray:
    """Returns the lowest `(n, 8, 8)` of the orthonormal DCT-II of `(n, 32, 32)`."""
    return _DCT @ pixels @ _DCT.T


def _find_candidates(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finds pairs `(m, 2)` of near points, and how `(m, 2)` one must be mirrored to be near the other."""
    leading = features[:, _LEADING]
    signs = np.where(leading < 0, -1, 1)
    turned = _mirror(features, signs)
    tree = cKDTree(turned)
    pairs, mirrors = [], []
    for mirror in _MIRRORS:
        # A leading frequency near 0 may have the other sign in a copy: only such images are searched again, mirrored.
        rows = np.flatnonzero(((np.abs(leading) <= _RADIUS) | (np.array(mirror) == 1)).all(axis=1))
        queries = _mirror(turned[rows], np.array([mirror]))
        # The nearest neighbour of an unmirrored image is the image itself.
        found = tree.query(queries, _NEIGHBOURS + 1, distance_upper_bound=_RADIUS, workers=-1)[1].ravel()
        index = np.repeat(rows, _NEIGHBOURS + 1)
        real = (found < len(features)) & (found != index)
        index, neighbour = index[real], found[real]
        pairs.append(np.stack([index, neighbour], axis=1))
        mirrors.append(signs[index] * mirror * signs[neighbour])
    return np.concatenate(pairs), np.concatenate(mirrors)


def _mirror(features: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Mirrors the features of images where `signs` `(n or 1, 2)` is -1: top to bottom, left to right."""
    return features * np.prod(np.power(signs[:, np.newaxis], _SEARCHED), axis=2)


def _are_copies(thumbnails: Thumbnails, candidates: np.ndarray, mirror: tuple[int, int]) -> np.ndarray:
    """Returns which candidates agree in the whole thumbnail: `bool` `(m,)`."""
    parts = [_agree(thumbnails, candidates[part], mirror) for part in _parts(len(candidates))]
    return np.concatenate([np.empty(0, bool), *parts])


def _agree(thumbnails: Thumbnails, pairs: np.ndarray, mirror: tuple[int, int]) -> np.ndarray:
    grey, other_grey = (thumbnails.grey[pairs[:, side]].astype(np.float32) for side in (0, 1))
    color, other_color = (thumbnails.color[pairs[:, side]].astype(np.float32) for side in (0, 1))
    contrast = (_contrast(grey) + _contrast(other_grey)) / 2
    difference = grey - other_grey[:, :: mirror[0], :: mirror[1]]
    color_difference = color - other_color[:, :: mirror[0], :: mirror[1]]
    low = np.sqrt(np.square(_low_frequencies(difference)).sum(axis=(1, 2))) / SIDE
    whole = np.sqrt(np.square(difference).mean(axis=(1, 2)))
    peak = np.abs(difference).max(axis=(1, 2))
    small = thumbnails.sides[pairs].min(axis=1) < _SMALL_BELOW

    def within(figures: np.ndarray, limit: float, small_limit: float) -> np.ndarray:
        return figures <= np.where(small, small_limit, limit) * contrast

    return (
        within(low, _LIMITS.low, _SMALL_LIMITS.low)
        & within(whole, _LIMITS.whole, _SMALL_LIMITS.whole)
        & within(peak, _LIMITS.peak, _SMALL_LIMITS.peak)
        & (np.sqrt(np.square(color_difference).mean(axis=(1, 2, 3))) <= _COLOR_LIMIT)
    )


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))
