"""Assigns examples to splits: pure functions of the examples and the split seed; the order of examples does not matter.

Images with equal digests count as one, and stay together in every method.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dlexp.datasets.sources.source import SPLITS
from dlexp.errors import DataError

_SPLIT_TYPE = "<U10"  # the longest name is "validation"


def stratified(
    manifest: pd.DataFrame, *, split_seed: int, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """Splits each class by the same fractions, in the order of a keyed hash of its images.

    An image with several labels belongs to the class of its smallest label. A class with at least three distinct images
    has one in every split whose fraction is above 0.

    Args:
        manifest: with the columns `digest` and `label`; the order of its rows does not matter.
        split_seed: another seed gives another split.
        validation_fraction: share of each class for validation, in [0, 1).
        test_fraction: share of each class for the test, in [0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.
    """
    image_of_row, labels, order = _rank_images(manifest, split_seed)
    fractions = np.array([1 - validation_fraction - test_fraction, validation_fraction, test_fraction])
    counts = np.unique(labels, return_counts=True)[1]
    placed = np.empty(len(labels), _SPLIT_TYPE)
    placed[order] = np.concatenate([np.repeat(SPLITS, _shares(count, fractions)) for count in counts])
    return placed[image_of_row]


def hashed(manifest: pd.DataFrame, *, split_seed: int, validation_fraction: float, test_fraction: float) -> np.ndarray:
    """Splits by a threshold on a keyed hash of each image, so that new examples never move others to another split.

    The sizes of the splits are random: they differ from their fractions of n examples by the order of sqrt(n).

    Args:
        manifest: with the column `digest`.
        split_seed: another seed gives another split.
        validation_fraction: chance of each image to be in validation, in [0, 1).
        test_fraction: chance of each image to be in the test split, in [0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.
    """
    image_of_row, digests = pd.factorize(manifest["digest"])
    draws = _keyed_hashes(digests, split_seed) / 2.0**64
    bounds = [test_fraction, test_fraction + validation_fraction]
    placed = np.array(["test", "validation", "train"])[np.searchsorted(bounds, draws, side="right")]
    return placed[image_of_row]


def grouped(manifest: pd.DataFrame, *, split_seed: int, validation_fraction: float, test_fraction: float) -> np.ndarray:
    """Keeps every group, such as a patient, a scene or a camera, in one split.

    Groups that share an image are joined. Groups are placed in the order of a keyed hash of their names, each in the
    split that lacks the most examples. So the splits come as close to their fractions as the sizes of the groups allow;
    classes are not balanced.

    Args:
        manifest: with the columns `digest` and `group`, none of them empty; the order of its rows does not matter.
        split_seed: another seed gives another split.
        validation_fraction: share of the examples for validation, in [0, 1).
        test_fraction: share of the examples for the test, in [0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.

    Raises:
        DataError: there are fewer groups than splits.
    """
    names = _joined_groups(manifest)
    sizes = names.value_counts()
    fractions = np.array([1 - validation_fraction - test_fraction, validation_fraction, test_fraction])
    if len(sizes) < np.count_nonzero(fractions):
        raise DataError(
            f"split_method=group has {len(sizes)} groups for {np.count_nonzero(fractions)} splits: name a column or "
            "pattern with more groups, with --group_column or --group_pattern"
        )
    keys = [hashlib.blake2b(name.encode(), digest_size=16).hexdigest() for name in sizes.index]
    order = sizes.index[np.argsort(_keyed_hashes(keys, split_seed), kind="stable")]
    lacking = fractions * len(manifest)
    placed: dict[str, str] = {}
    for left, name in zip(range(len(order), 0, -1), order, strict=True):
        empty = [number for number in np.flatnonzero(fractions) if SPLITS[number] not in placed.values()]
        place = empty[0] if left <= len(empty) else int(np.argmax(lacking))
        placed[name] = SPLITS[place]
        lacking[place] -= sizes[name]
    return names.map(placed).to_numpy(dtype="str")


def folded(manifest: pd.DataFrame, *, split_seed: int, folds: int, fold: int, validation_fraction: float) -> np.ndarray:
    """Splits for cross-validation: one of several equal parts is the test split, a part of the rest is validation.

    Each class is divided evenly among the parts, in the order of a keyed hash of its images. Over all folds, every
    image is in the test split once.

    Args:
        manifest: with the columns `digest` and `label`; the order of its rows does not matter.
        split_seed: another seed gives other folds.
        folds: number of parts, at least 2.
        fold: which part is the test split, from 0 to folds - 1.
        validation_fraction: share of all examples for validation, taken from each class of the rest, in (0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.
    """
    image_of_row, _, order = _rank_images(manifest, split_seed)
    tested = np.zeros(len(order), bool)
    # One pass over the images of all classes: parts differ by at most one image, in total and in each class.
    tested[order[fold::folds]] = True
    splits = np.where(tested[image_of_row], "test", "train").astype(_SPLIT_TYPE)
    rest = splits == "train"
    share = min(validation_fraction * folds / (folds - 1), 1.0)
    splits[rest] = stratified(manifest[rest], split_seed=split_seed, validation_fraction=share, test_fraction=0.0)
    return splits


def has_official(manifest: pd.DataFrame) -> bool:
    """Returns whether the source marks test or validation examples; "train" alone marks no split.

    Args:
        manifest: with the column `split`, as the source made it.
    """
    return bool(manifest["split"].isin(["validation", "test"]).any())


def official(
    manifest: pd.DataFrame, *, split_seed: int, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """Keeps the official splits of the source.

    The rules:
        1. An example that the source marks stays in its split.
        2. If the source has no validation or no test split, that split is taken from train by its fraction, stratified.
        3. Examples without a mark, as in a joined source that has no splits, are split as `stratified` does. A copy of
           a marked image joins it: in test if the image is in several splits, else in validation.

    Args:
        manifest: with the columns `digest`, `label` and `split`; the order of its rows does not matter.
        split_seed: as for `stratified`.
        validation_fraction: share of each class, in (0, 1).
        test_fraction: share of each class, in (0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.

    Raises:
        DataError: the source marks no test and no validation example.
    """
    if not has_official(manifest):
        raise DataError(
            "split_method=official needs a source with an official test or validation split, but this source has none: "
            "use --split_method=stratified"
        )
    splits = _with_copies(manifest)
    lacking = [split for split in ("validation", "test") if split not in manifest["split"].array]
    shares = {"validation": validation_fraction, "test": test_fraction}
    for rows, taken in ((splits == "train", lacking), (splits == "", list(shares))):
        if rows.any() and taken:
            fractions = {f"{split}_fraction": shares[split] if split in taken else 0.0 for split in shares}
            if sum(fractions.values()) >= 1:
                raise DataError(
                    f"validation_fraction={validation_fraction} and test_fraction={test_fraction} leave nothing to "
                    "train on: their sum must be below 1"
                )
            splits[rows] = stratified(manifest[rows], split_seed=split_seed, **fractions)
    return splits


def _with_copies(manifest: pd.DataFrame) -> np.ndarray:
    """Returns the official split of each row, or that of a copy; "" if neither has one."""
    splits = manifest["split"].to_numpy(dtype="str").astype(_SPLIT_TYPE)
    for split in SPLITS:  # the last one wins
        marked = manifest["digest"][manifest["split"] == split]
        splits[((manifest["split"] == "") & manifest["digest"].isin(marked)).to_numpy()] = split
    return splits


def _rank_images(manifest: pd.DataFrame, split_seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the number of the distinct image in each row, the label of each image, and the order of the images.

    Images are ordered by label (the smallest, if an image has several), then by keyed hash.
    """
    image_of_row, digests = pd.factorize(manifest["digest"])
    labels = manifest["label"].groupby(image_of_row).min().to_numpy()
    return image_of_row, labels, np.lexsort((_keyed_hashes(digests, split_seed), labels))


def _joined_groups(manifest: pd.DataFrame) -> pd.Series:
    """Returns the group of each row; groups that share an image all get the name that sorts first."""
    (groups, names), (images, digests) = (pd.factorize(manifest[column]) for column in ("group", "digest"))
    edges = coo_array(
        (np.ones(len(manifest), bool), (groups, images + len(names))), shape=[len(names) + len(digests)] * 2
    )
    component = connected_components(edges, directed=False)[1][groups]
    return manifest["group"].groupby(component).transform("min")


def _keyed_hashes(digests: Iterable[str], split_seed: int) -> np.ndarray:
    """Returns one `uint64` per digest (hex digits), which depends only on the digest and the seed."""
    start = hashlib.blake2b(digest_size=8, key=split_seed.to_bytes(8, "little"))

    def keyed_hash(digest: str) -> bytes:
        state = start.copy()
        state.update(bytes.fromhex(digest))
        return state.digest()

    return np.frombuffer(b"".join(map(keyed_hash, digests)), "<u8")


def _shares(count: int, fractions: np.ndarray) -> np.ndarray:
    """Divides `count` by the method of largest remainders; rounding makes equal remainders equal on every machine."""
    exact = np.round(count * fractions, 9)
    shares = np.floor(exact).astype(int)
    by_remainder = np.argsort(np.round(shares - exact, 9), kind="stable")
    shares[by_remainder[: count - shares.sum()]] += 1
    for split in np.flatnonzero(fractions > 0) if count >= 3 else [0]:
        if shares[split] == 0:
            shares[np.argmax(shares)] -= 1
            shares[split] = 1
    return shares
