"""What is wrong with a dataset, as a table of findings: damage, leaks, copies, contradictions, odd files.

Severities:
    error: an accuracy measured on it is wrong, or an example cannot be used (damaged, leak, conflicting_labels; of
        left_out: images in a format that is not read, class folders without images, links in place of class folders).
    warning: it wastes time or distorts the result (copies within a split, mirror images of one class in two splits, a
        class that is absent from a split or ten times smaller than another, class names that look alike, 16-bit files
        that use fewer bits, an unusual mode that loses information when it is decoded; of left_out: other
        files and folders that may hold examples).
    note: worth a look (mirror images of different classes, keys that look alike, odd sizes, other unusual modes, the
        usual mode if it loses information, files of several pages; of left_out: hidden files and files that accompany
        images).
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.inspection.description import BALANCING
from dlexp.datasets.inspection.duplicates import Duplicates
from dlexp.datasets.inspection.similar_names import similar_names
from dlexp.datasets.inspection.unused_bits import unused_bits
from dlexp.datasets.sources.left_out import KINDS, left_out_of
from dlexp.datasets.sources.source import SPLITS

SEVERITIES = ("error", "warning", "note")
CHECKS = (
    "damaged",
    "left_out",
    "leak",
    "conflicting_labels",
    "exact_duplicate",
    "near_duplicate",
    "mirrored",
    "similar_names",
    "imbalance",
    "odd_size",
    "odd_mode",
    "several_pages",
    "unused_bits",
)
_MOST_KEYS = 5
_IMBALANCED_FROM = 10  # times as many training examples in the largest class as in the smallest
_ODD_SIDE = 4  # times larger or smaller than the median side
_ODD_ASPECT = 2  # times larger or smaller than the median of width / height
_DEEP = " of 16 bits"
_LOWER_BITS = "the lower 8 of its 16 bits"
_LOST_BY_MODE = {
    "transparency": ("LA", "La", "PA", "RGBA", "RGBa"),
    _LOWER_BITS: ("I;16",),
    "the colour profile": ("CMYK",),
}


@dataclass(frozen=True)
class Finding:
    """One row of the table: a fault, and the examples that have it.

    Attributes:
        check: one of `CHECKS`.
        severity: one of `SEVERITIES`.
        count: number of examples that have it.
        keys: all of their keys.
        message: one sentence with the figures.
    """

    check: str
    severity: str
    count: int
    keys: tuple[str, ...]
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
            *_find_left_out(left_out_of(dataset.source)),
            *_find_copies(dataset, duplicates.groups),
            *_find_similar_names(dataset),
            *_find_imbalance(dataset),
            *_find_odd_sizes(dataset.manifest),
            *_find_odd_modes(dataset.manifest),
            *_find_pages(dataset.manifest),
            *_find_unused_bits(dataset),
        ]
    )


def find_exact_leaks(manifest: pd.DataFrame) -> pd.DataFrame:
    """Lists images that are in more than one split, byte for byte. It compares only digests, so it is fast.

    The splits that dlexp makes keep equal digests together; official splits may not.

    Args:
        manifest: with the columns `key`, `digest` and the final `split`; examples of no split are passed over.

    Returns:
        A table with the columns of `Finding`, one row for each image; empty if there is none.
    """
    used = manifest[manifest["split"].isin(SPLITS)]
    repeated = used[used["digest"].duplicated(keep=False)]
    leaking = repeated[repeated.groupby("digest")["split"].transform("nunique") > 1]
    examples = leaking.sort_values("digest", kind="stable")[["digest", "key", "split"]].itertuples(index=False)
    images = (list(image) for _, image in itertools.groupby(examples, key=lambda example: example.digest))
    return _table(_leak(image, _SAME) for image in images)


_SAME = "equal images"
_COPIES = "re-encoded or resized copies of one image"
_MIRRORED = "mirror images of each other"


def _table(findings: Iterable[Finding]) -> pd.DataFrame:
    def rank(finding: Finding) -> tuple[int, int, int]:
        return SEVERITIES.index(finding.severity), CHECKS.index(finding.check), -finding.count

    ordered = sorted(findings, key=rank)
    return pd.DataFrame(ordered, columns=[field.name for field in fields(Finding)])


def cut_keys(keys: Sequence[str]) -> str:
    """Returns the first five keys, and how many more there are, for people."""
    more = f" and {len(keys) - _MOST_KEYS:,} more" if len(keys) > _MOST_KEYS else ""
    shown = (key if key.isprintable() else ascii(key)[1:-1] for key in keys[:_MOST_KEYS])
    return ", ".join(shown) + more


def _find_damaged(damaged: pd.DataFrame) -> Iterator[Finding]:
    for key, reason in damaged[["key", "reason"]].itertuples(index=False):
        yield Finding("damaged", "error", 1, (key,), f"it cannot be read: {reason}")


def _find_left_out(left_out: pd.DataFrame) -> Iterator[Finding]:
    """Yields one finding for each kind; for files with other endings one for each ending, for folders one for each."""
    for (kind, detail), rows in left_out.groupby(["kind", "detail"], sort=False):
        keys, what = tuple(rows["key"]), KINDS[str(kind)]
        named = f" ({detail})" if detail else ""
        advice = f": {what.advice}" if what.advice else ""
        message = f"{what.one if len(keys) == 1 else what.many}{named}{advice}"
        yield Finding("left_out", what.severity, len(keys), keys, message)


def _find_copies(dataset: Dataset, groups: pd.DataFrame) -> Iterator[Finding]:
    examples = dataset.manifest[["key", "digest", "label", "split"]].iloc[groups["position"]].reset_index(drop=True)
    rows: Iterator[Any] = examples.assign(group=groups["group"], upright=groups["upright"]).itertuples(index=False)
    for _, group in itertools.groupby(rows, key=lambda example: example.group):
        copies = list(group)
        by_orientation: dict[int, list[Any]] = {}
        for example in copies:
            by_orientation.setdefault(example.upright, []).append(example)
        for upright in by_orientation.values():
            if len(upright) > 1:
                yield from _judge(upright, dataset.class_names)
        if len(by_orientation) > 1:
            yield _judge_mirrored(copies, dataset.class_names)


def _judge(copies: list[Any], class_names: Sequence[str]) -> Iterator[Finding]:
    """Yields the faults of copies in the same orientation."""
    exact = len({example.digest for example in copies}) == 1
    what = _SAME if exact else _COPIES
    keys = _keys(copies)
    labels = {example.label for example in copies}
    splits = {example.split for example in copies}
    if len(splits) > 1:
        yield _leak(copies, what)
    if len(labels) > 1:
        message = f"{what} are labelled {_count_labels(copies, class_names)}"
        yield Finding("conflicting_labels", "error", len(copies), keys, message)
    if len(labels) == len(splits) == 1:
        check = "exact_duplicate" if exact else "near_duplicate"
        yield Finding(check, "warning", len(copies), keys, f"{what} are in {copies[0].split} ({len(copies):,})")


def _judge_mirrored(copies: list[Any], class_names: Sequence[str]) -> Finding:
    """Returns what a group is of which some are mirror images of others, by a line or by both (a half turn)."""
    keys, count = _keys(copies), len(copies)
    if len({example.label for example in copies}) > 1:
        # An arrow to the left, mirrored, is an arrow to the right: no copy, unless the labels are wrong.
        message = f"{_MIRRORED} are labelled {_count_labels(copies, class_names)}; right if direction tells them apart"
        return Finding("mirrored", "note", count, keys, message)
    if len({example.split for example in copies}) > 1:
        return Finding("mirrored", "warning", count, keys, f"{_MIRRORED} are in {_count_splits(copies)}")
    return Finding("near_duplicate", "warning", count, keys, f"{_MIRRORED} are in {copies[0].split} ({count:,})")


def _keys(examples: Iterable[Any]) -> tuple[str, ...]:
    return tuple(example.key for example in examples)


def _count_labels(copies: list[Any], class_names: Sequence[str]) -> str:
    return _count(class_names[label] for label in sorted(example.label for example in copies))


def _count_splits(copies: list[Any]) -> str:
    return _count(sorted((example.split for example in copies), key=SPLITS.index))


def _leak(copies: list[Any], what: str) -> Finding:
    return Finding("leak", "error", len(copies), _keys(copies), f"{what} are in {_count_splits(copies)}")


def _count(names: Iterable[str]) -> str:
    """Counts equal names, as in "train (1) and test (2)", in the order of the names."""
    counts = [f"{name} ({count:,})" for name, count in Counter(names).items()]
    return " and ".join([", ".join(counts[:-1]), counts[-1]] if len(counts) > 1 else counts)


def _find_similar_names(dataset: Dataset) -> Iterator[Finding]:
    """Yields names that a person takes for one, though they differ: of classes, sources and keys."""
    sources = dataset.manifest["source"].unique().tolist()
    for what, names in (("classes", dataset.class_names), ("sources", sources)):
        for alike in similar_names(names):
            message = f"{what} whose names look alike: {', '.join(map(ascii, alike))}; join them if they are one"
            yield Finding("similar_names", "warning", len(alike), alike, message)
    keys = tuple(key for alike in similar_names(dataset.manifest["key"].tolist()) for key in alike)
    if keys:
        message = "keys that look alike, as of files whose names differ in case or in the encoding of accents only"
        yield Finding("similar_names", "note", len(keys), keys, message)


def _find_imbalance(dataset: Dataset) -> Iterator[Finding]:
    counts = dataset.counts()
    for split in counts.columns[counts.sum() > 0]:
        absent = counts.index[counts[split] == 0]
        if len(absent):
            names = cut_keys(absent.tolist())
            message = f"{len(absent)} of {dataset.num_classes} classes have no example in {split}: {names}"
            yield Finding("imbalance", "warning", 0, (), message)
    trained = counts["train"][counts["train"] > 0]
    if len(trained) and trained.max() >= _IMBALANCED_FROM * trained.min():
        message = (
            f"class {trained.idxmax()!r} has {trained.max():,} training examples and {trained.idxmin()!r} only "
            f"{trained.min():,}, {trained.max() / trained.min():.0f} times fewer: {BALANCING}"
        )
        yield Finding("imbalance", "warning", int(trained.min()), (), message)


def _find_odd_sizes(manifest: pd.DataFrame) -> Iterator[Finding]:
    sides = manifest[["height", "width"]].max(axis=1)
    odd = (sides > _ODD_SIDE * sides.median()) | (sides < sides.median() / _ODD_SIDE)
    if odd.any():
        message = (
            f"their larger side, from {sides[odd].min():,} to {sides[odd].max():,} pixels, is more than {_ODD_SIDE} "
            f"times larger or smaller than the median of {sides.median():,.0f}"
        )
        yield Finding("odd_size", "note", int(odd.sum()), tuple(manifest["key"][odd]), message)
    aspects = manifest["width"] / manifest["height"]
    odd = (aspects > _ODD_ASPECT * aspects.median()) | (aspects < aspects.median() / _ODD_ASPECT)
    if odd.any():
        message = (
            f"their width / height, from {aspects[odd].min():.2f} to {aspects[odd].max():.2f}, is more than "
            f"{_ODD_ASPECT} times larger or smaller than the median of {aspects.median():.2f}: resizing distorts them"
        )
        yield Finding("odd_size", "note", int(odd.sum()), tuple(manifest["key"][odd]), message)


def _find_odd_modes(manifest: pd.DataFrame) -> Iterator[Finding]:
    """Yields the modes other than the most common one; none if the manifest has no column `mode`."""
    if "mode" not in manifest:
        return
    modes = manifest["mode"]
    if "peak" in manifest:
        modes = modes.mask((manifest["peak"] > 0) & (modes != "I;16"), modes + _DEEP)
    counts = modes[manifest["mode"] != ""].value_counts()
    for place, mode in enumerate(counts.index):
        lost = [what for what, of_modes in _LOST_BY_MODE.items() if mode.removesuffix(_DEEP) in of_modes]
        lost += [_LOWER_BITS] if mode.endswith(_DEEP) else []
        if place == 0 and not lost:
            continue
        keys = tuple(manifest["key"][modes == mode])
        loss = f"loses {' and '.join(lost)} when it is decoded" if lost else ""
        odd = f"is not the usual {counts.index[0]}" if place else ""
        message = f"mode {mode} {', and '.join(filter(None, (odd, loss)))}"
        yield Finding("odd_mode", "warning" if lost and place else "note", len(keys), keys, message)


def _find_unused_bits(dataset: Dataset) -> Iterator[Finding]:
    """Yields the files of 16 bits, or all examples, if their values are far below the greatest that is possible."""
    if message := unused_bits(dataset):
        manifest = dataset.manifest
        is_deep = manifest["peak"] > 0 if "peak" in manifest else manifest["key"] == ""
        keys = tuple(manifest["key"][is_deep] if is_deep.any() else manifest["key"])
        yield Finding("unused_bits", "warning", len(keys), keys, message)


def _find_pages(manifest: pd.DataFrame) -> Iterator[Finding]:
    """Yields the files that hold several images; none if the manifest has no column `pages`."""
    if "pages" not in manifest:
        return
    several = manifest["pages"] > 1
    if several.any():
        pages = int(manifest["pages"][several].sum())
        message = f"files of several pages or frames ({pages:,} in all), of which only the first is read"
        yield Finding("several_pages", "note", int(several.sum()), tuple(manifest["key"][several]), message)
