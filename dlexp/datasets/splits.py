"""Which example is in which split: pure functions of the examples and the split seed, never of their order."""

import hashlib

import numpy as np
import pandas as pd

from dlexp.datasets.source import SPLITS
from dlexp.errors import DataError


def stratified(
    manifest: pd.DataFrame, *, split_seed: int, validation_fraction: float, test_fraction: float
) -> np.ndarray:
    """Splits each class in equal shares, by the rank of a keyed hash of each image.

    Images with equal digests count as one and stay together, in the class of their smallest label. A class with three
    distinct images or more has one in every split whose fraction is above 0.

    Args:
        manifest: with the columns `digest` and `label`; the order of its rows does not matter.
        split_seed: another seed gives another split.
        validation_fraction: share of each class for validation, in [0, 1).
        test_fraction: share of each class for the test, in [0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.
    """
    labels = manifest.groupby("digest")["label"].min()
    ranks = np.array([_keyed_hash(digest, split_seed) for digest in labels.index], dtype=np.uint64)
    order = np.lexsort((ranks, labels.to_numpy()))
    fractions = np.array([1 - validation_fraction - test_fraction, validation_fraction, test_fraction])
    counts = np.unique(labels, return_counts=True)[1]
    ordered = np.concatenate([np.repeat(SPLITS, _shares(count, fractions)) for count in counts])
    split_of = pd.Series(ordered, index=labels.index[order])
    return manifest["digest"].map(split_of).to_numpy(dtype="str")


def official(manifest: pd.DataFrame, *, split_seed: int, validation_fraction: float) -> np.ndarray:
    """Keeps the source's own test examples, and its own validation examples if it has some.

    Otherwise validation is taken from the rest, stratified, at `validation_fraction`.

    Args:
        manifest: with the columns `digest`, `label` and `split`; the order of its rows does not matter.
        split_seed: as for `stratified`.
        validation_fraction: share of each class of the rest, in (0, 1).

    Returns:
        `str` `(len(manifest),)`: "train", "validation" or "test" for each row.

    Raises:
        DataError: the source has no test examples of its own.
    """
    own = manifest["split"].to_numpy(dtype="str")
    if "test" not in own:
        raise DataError(
            "split_method=official needs a source with a test set of its own, and this one has none: "
            "use --split_method=stratified"
        )
    splits = np.where(own == "", "train", own).astype("<U10")
    if "validation" not in own:
        rest = splits == "train"
        splits[rest] = stratified(
            manifest[rest], split_seed=split_seed, validation_fraction=validation_fraction, test_fraction=0.0
        )
    return splits


def _keyed_hash(digest: str, split_seed: int) -> int:
    state = hashlib.blake2b(bytes.fromhex(digest), digest_size=8, key=split_seed.to_bytes(8, "little"))
    return int.from_bytes(state.digest(), "little")


def _shares(count: int, fractions: np.ndarray) -> np.ndarray:
    """Shares `count` by the method of largest remainders; rounding makes equal remainders equal on every machine."""
    exact = np.round(count * fractions, 9)
    shares = np.floor(exact).astype(int)
    by_remainder = np.argsort(np.round(shares - exact, 9), kind="stable")
    shares[by_remainder[: count - shares.sum()]] += 1
    for split in np.flatnonzero(fractions > 0) if count >= 3 else [0]:
        if shares[split] == 0:
            shares[np.argmax(shares)] -= 1
            shares[split] = 1
    return shares
