"""What is wrong with a dataset, as a table of findings: damage, leaks, copies, contradictions, odd files.

Severities:
    error: an accuracy measured on it is wrong, or an example cannot be used (damaged, leak, conflicting_labels).
    warning: it wastes time or distorts the result (copies within a split, a class that is absent from a split or ten
        times smaller than another, a colour mode that loses information when it is decoded).
    note: worth a look (odd sizes, other odd modes).
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.inspection.duplicates import Duplicates
from dlexp.datasets.sources.source import SPLITS

SEVERITIES = ("error", "warning", "note")
CHECKS = (
    "damaged",
    "leak",
    "conflicting_labels",
    "exact_duplicate",
    "near_duplicate",
    "imbalance",
    "odd_size",
    "odd_mode",
)
_MOST_KEYS = 5
_IMBALANCED_FROM = 10  # times as many training examples in the largest class as in the smallest
_ODD_SIDE = 4  # times larger or smaller than the median side
_ODD_ASPECT = 2  # times larger or smaller than the median of width / height
_LOST_BY_MODE = {
    "transparency": ("LA", "La", "PA", "RGBA", "RGBa"),
    "all but 8 bits of each value": ("I", "I;16", "I;16B", "I;16L", "F"),
    "the colour profile": ("CMYK",),
}


@dataclass(frozen=True)
class Finding:
    """One row of the table: a fault, and the examples that have it.

    Attributes:
        check: one of `CHECKS`.
        severity: one of `SEVERITIES`.
        count: number of examples that have it.
        keys: the first five of their keys, and how many more there are.
        message: one sentence with the figures.
    """

    check: str
    severity: str
    count: int
    keys: str
    message: str


def find_problems(dataset: Dataset, duplicates: Duplicates, damaged: pd.DataFrame | None = None) -> pd.DataFrame:
    """Lists the faults of a dataset, the most severe first: damaged files, groups of copies, sets of odd files.

    A group of copies is reported as a leak, as conflicting labels, as both, or, if it is neither, as duplicates.

    Args:
        dataset: split, as it would be trained on.
        duplicates: what `find_duplicates` found in it.
        damaged: files that are not in its manifest, as they cannot be read: key, reason.

    Returns:
        A table with the columns of `Finding`; empty if no fault was found.

    Example:
        >>> problems = find_problems(dataset, find_duplicates(dataset))
        >>> problems[problems["severity"] == "error"]
    """
    unreadable = [duplicates.unreadable, *([] if damaged is None else [damaged])]
    return _table(
        [
            *_find_damaged(pd.concat(unreadable)),
            *_find_copies(dataset, duplicates.groups),
            *_find_imbalance(dataset),
            *_find_odd_sizes(dataset.manifest),
            *_find_odd_modes(dataset.manifest),
        ]
    )


def find_exact_leaks(manifest: pd.DataFrame) -> pd.DataFrame:
    """Lists images that are in more than one split, byte for byte. It compares only digests, so it is fast.

    The splits that dlexp makes keep equal digests together; official splits may not.

    Args:
        manifest: with the columns `key`, `digest` and the final `split`.

    Returns:
        A table with the columns of `Finding`, one row for each image; empty if there is none.
    """
    repeated = manifest[manifest["digest"].duplicated(keep=False)]
    leaking = repeated[repeated.groupby("digest")["split"].transform("nunique") > 1]
    examples = leaking.sort_values("digest", kind="stable")[["digest", "key", "split"]].itertuples(index=False)
    images = (list(image) for _, image in itertools.groupby(examples, key=lambda example: example.digest))
    return _table(_leak(image, _SAME) for image in images)


_SAME = "equal images"
_COPIES = "re-encoded, resized or mirrored copies of one image"


def _table(findings: Iterable[Finding]) -> pd.DataFrame:
    def rank(finding: Finding) -> tuple[int, int, int]:
        return SEVERITIES.index(finding.severity), CHECKS.index(finding.check), -finding.count

    ordered = sorted(findings, key=rank)
    return pd.DataFrame(ordered, columns=[field.name for field in fields(Finding)])


def _list_keys(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _MOST_KEYS:,} more" if len(keys) > _MOST_KEYS else ""
    return ", ".join(keys[:_MOST_KEYS]) + more


def _find_damaged(damaged: pd.DataFrame) -> Iterator[Finding]:
    for key, reason in damaged[["key", "reason"]].itertuples(index=False):
        yield Finding("damaged", "error", 1, key, f"it cannot be read: {reason}")


def _find_copies(dataset: Dataset, groups: pd.DataFrame) -> Iterator[Finding]:
    examples = dataset.manifest[["key", "digest", "label", "split"]].iloc[groups["position"]].reset_index(drop=True)
    rows = examples.assign(group=groups["group"], upright=groups["upright"]).itertuples(index=False)
    for _, group in itertools.groupby(rows, key=lambda example: example.group):
        yield from _judge(list(group), dataset.class_names)


def _judge(copies: list[Any], class_names: Sequence[str]) -> Iterator[Finding]:
    """Yields the faults of one group of copies."""
    exact = len({example.digest for example in copies}) == 1
    what = _SAME if exact else _COPIES
    keys = _list_keys([example.key for example in copies])
    labels = {example.label for example in copies}
    splits = {example.split for example in copies}
    if len(splits) > 1:
        yield _leak(copies, what)
    if len(labels) > 1:
        labelled = {(example.upright, example.label) for example in copies}
        upright = len(labelled) > len({example.upright for example in copies})
        named = _count(class_names[label] for label in sorted(example.label for example in copies))
        # An arrow to the left, mirrored, is an arrow to the right: the labels may be correct.
        severity, hint = ("error", "") if upright else ("warning", "; correct only if the classes are mirror images")
        yield Finding("conflicting_labels", severity, len(copies), keys, f"{what} are labelled {named}{hint}")
    if len(labels) == len(splits) == 1:
        check = "exact_duplicate" if exact else "near_duplicate"
        yield Finding(check, "warning", len(copies), keys, f"{what} are in {copies[0].split} ({len(copies):,})")


def _leak(copies: list[Any], what: str) -> Finding:
    splits = _count(sorted((example.split for example in copies), key=SPLITS.index))
    keys = _list_keys([example.key for example in copies])
    return Finding("leak", "error", len(copies), keys, f"{what} are in {splits}")


def _count(names: Iterable[str]) -> str:
    """Counts equal names, as in "train (1) and test (2)", in the order of the names."""
    counts = [f"{name} ({count:,})" for name, count in Counter(names).items()]
    return " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)


def _find_imbalance(dataset: Dataset) -> Iterator[Finding]:
    counts = dataset.counts()
    for split in counts.columns[counts.sum() > 0]:
        absent = counts.index[counts[split] == 0]
        if len(absent):
            names = _list_keys(absent.tolist())
            message = f"{len(absent)} of {dataset.num_classes} classes have no example in {split}: {names}"
            yield Finding("imbalance", "warning", 0, "", message)
    trained = counts["train"][counts["train"] > 0]
    if len(trained) and trained.max() >= _IMBALANCED_FROM * trained.min():
        message = (
            f"class {trained.idxmax()!r} has {trained.max():,} training examples and {trained.idxmin()!r} only "
            f"{trained.min():,}, {trained.max() / trained.min():.0f} times fewer"
        )
        yield Finding("imbalance", "warning", int(trained.min()), "", message)


def _find_odd_sizes(manifest: pd.DataFrame) -> Iterator[Finding]:
    sides = manifest[["height", "width"]].max(axis=1)
    odd = (sides > _ODD_SIDE * sides.median()) | (sides < sides.median() / _ODD_SIDE)
    if odd.any():
        message = (
            f"their larger side, from {sides[odd].min():,} to {sides[odd].max():,} pixels, is more than {_ODD_SIDE} "
            f"times larger or smaller than the median of {sides.median():,.0f}"
        )
        yield Finding("odd_size", "note", int(odd.sum()), _list_keys(manifest["key"][odd].tolist()), message)
    aspects = manifest["width"] / manifest["height"]
    odd = (aspects > _ODD_ASPECT * aspects.median()) | (aspects < aspects.median() / _ODD_ASPECT)
    if odd.any():
        message = (
            f"their width / height, from {aspects[odd].min():.2f} to {aspects[odd].max():.2f}, is more than "
            f"{_ODD_ASPECT} times larger or smaller than the median of {aspects.median():.2f}: resizing distorts them"
        )
        yield Finding("odd_size", "note", int(odd.sum()), _list_keys(manifest["key"][odd].tolist()), message)


def _find_odd_modes(manifest: pd.DataFrame) -> Iterator[Finding]:
    """Yields the modes other than the most common one; none if the manifest has no column `mode`."""
    if "mode" not in manifest:
        return
    counts = manifest["mode"][manifest["mode"] != ""].value_counts()
    for mode in counts.index[1:]:
        keys = manifest["key"][manifest["mode"] == mode].tolist()
        lost = [what for what, modes in _LOST_BY_MODE.items() if mode in modes]
        loss = f", and loses {lost[0]} when it is decoded" if lost else ""
        message = f"mode {mode} is not the usual {counts.index[0]}{loss}"
        yield Finding("odd_mode", "warning" if lost else "note", len(keys), _list_keys(keys), message)
