"""What a dataset consists of: sources, counts, sizes and the statistics of its pixels, as plain values and as text."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.sources.combined import damage_of
from dlexp.datasets.sources.left_out import count_left_out, left_out_of, left_out_text
from dlexp.datasets.sources.source import SPLITS
from dlexp.datasets.splits import has_official

_MOST_MEASURED = 1000
_MOST_SHOWN_CLASSES = 30
_IMBALANCE_SHOWN_FROM = 2.0
BALANCING = "weigh them with --class_weights=balanced, or draw them alike with --sampling=balanced"


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Describes a dataset without reading pixels, in values that JSON can hold.

    Returns:
        name, id, classes (number), image_shape, examples, left_out (images that cannot be read), left_out_by_kind
        (counts of what else gives no example, by kind and ending), split_method (never auto), official_splits (the
        source's own counts by split; empty if it has none), counts (by split), counts_by_class and counts_by_source
        (each a mapping to counts by split), imbalance (training examples of the largest class divided by those of the
        smallest), num_sizes, sizes (examples by `HEIGHTxWIDTH`, the most frequent first, at most ten), and, if weights
        differ, weights (by source).
    """
    manifest, counts = dataset.manifest, dataset.counts()
    sizes = (manifest["height"].astype("str") + "x" + manifest["width"].astype("str")).value_counts()
    weights = manifest.groupby("source")["weight"].first().to_dict() if "weight" in manifest else {}
    return {
        "name": dataset.name,
        "id": dataset.id,
        "classes": dataset.num_classes,
        "image_shape": list(dataset.image_shape),
        "examples": len(manifest),
        "left_out": len(damage_of(dataset.source)),
        "left_out_by_kind": count_left_out(left_out_of(dataset.source)),
        "split_method": dataset.split_method,
        "official_splits": _official_counts(dataset.source.manifest),
        "counts": {split: dataset.count(split) for split in SPLITS},
        "counts_by_class": _by_split(counts),
        "imbalance": imbalance(counts),
        "counts_by_source": _by_split(_counts_by_source(manifest)),
        "num_sizes": len(sizes),
        "sizes": {size: int(count) for size, count in sizes.head(10).items()},
        **({"weights": weights} if weights else {}),
    }


def measure_channels(dataset: Dataset) -> dict[str, Any]:
    """Measures the mean and the standard deviation of each channel, over the pixels of training images.

    Returns:
        mean and std (lists with one number per channel, in [0, 255]), and images (how many were read: all, or 1,000
        chosen by their digests).
    """
    train = dataset.manifest[dataset.manifest["split"] == "train"].sort_values("digest").head(_MOST_MEASURED)

    def sums(row: int) -> tuple[int, np.ndarray, np.ndarray]:
        pixels = dataset.source.read(row).astype(np.float64)
        return pixels[..., 0].size, pixels.sum(axis=(0, 1)), (pixels**2).sum(axis=(0, 1))

    with ThreadPoolExecutor() as pool:
        counts, totals, squares = zip(*pool.map(sums, train["row"].tolist()), strict=True)
    mean = np.sum(totals, axis=0) / sum(counts)
    std = np.sqrt(np.maximum(np.sum(squares, axis=0) / sum(counts) - mean**2, 0))
    return {"mean": mean.round(3).tolist(), "std": std.round(3).tolist(), "images": len(train)}


def describe_in_lines(description: Mapping[str, Any]) -> Iterator[str]:
    """Yields the description as text: a headline, then counts by class and by source."""
    left_out = f", {description['left_out']} left out as they cannot be read" if description["left_out"] else ""
    sizes = description["num_sizes"]
    shape = f"{sizes:,} sizes" if sizes > 1 else "x".join(map(str, description["image_shape"]))
    yield (
        f"{description['name']} ({description['id']}): {description['examples']:,} examples of {shape} in "
        f"{description['classes']} classes{left_out}"
    )
    yield from _split_lines(description)
    if others := left_out_text(description["left_out_by_kind"]):
        yield f"left out: {others}"
    yield from _table_lines("class", description["counts_by_class"], description["counts"])
    yield from _imbalance_lines(description)
    if len(description["counts_by_source"]) > 1:
        weights = description.get("weights", {})
        named = {
            name + (f" (weight {weights[name]:g})" if weights.get(name, 1) != 1 else ""): counts
            for name, counts in description["counts_by_source"].items()
        }
        yield ""
        yield from _table_lines("source", named, description["counts"])


def imbalance(counts: pd.DataFrame) -> float:
    """Returns how many times more training examples the largest class has than the smallest; classes without are not
    counted. 1.0 if all are equal.

    Args:
        counts: `Dataset.counts`.
    """
    trained = counts["train"][counts["train"] > 0]
    return round(float(trained.max() / trained.min()), 3) if len(trained) else 1.0


def _official_counts(manifest: pd.DataFrame) -> dict[str, int]:
    """Counts the examples by the split that the source marks; "" are those without a mark."""
    if not has_official(manifest):
        return {}
    counts = manifest["split"].value_counts()
    return {split: int(counts[split]) for split in (*SPLITS, "") if split in counts}


def _split_lines(description: Mapping[str, Any]) -> Iterator[str]:
    """Yields one line on what became of the source's own splits, if it has some."""
    official, method = description["official_splits"], description["split_method"]
    if not official:
        return
    marked = ", ".join(f"{split} {official[split]:,}" for split in SPLITS if split in official)
    if method != "official":
        yield (
            f"official splits are pooled and split anew by --split_method={method}: {marked}; "
            "--split_method=official keeps them"
        )
        return
    taken = " and ".join(split for split in ("validation", "test") if split not in official)
    derived = f"; {taken} is taken from train" if taken else ""
    unmarked = f"; {official['']:,} examples without one are split by shares" if "" in official else ""
    yield f"official splits are kept: {marked}{derived}{unmarked}; --split_method=stratified pools them"


def _imbalance_lines(description: Mapping[str, Any]) -> Iterator[str]:
    ratio = description["imbalance"]
    if ratio < _IMBALANCE_SHOWN_FROM:
        return
    trained = {name: counts["train"] for name, counts in description["counts_by_class"].items() if counts["train"]}
    largest, smallest = max(trained, key=trained.__getitem__), min(trained, key=trained.__getitem__)
    yield (
        f"classes are unequal: {largest} has {ratio:.1f} times as many training examples as {smallest} "
        f"({trained[largest]:,} and {trained[smallest]:,}); {BALANCING}"
    )


def _counts_by_source(manifest: pd.DataFrame) -> pd.DataFrame:
    return pd.crosstab(manifest["source"], manifest["split"]).reindex(columns=list(SPLITS), fill_value=0)


def _by_split(counts: pd.DataFrame) -> dict[str, dict[str, int]]:
    return {str(name): {split: int(row[split]) for split in SPLITS} for name, row in counts.iterrows()}


def _table_lines(what: str, rows: Mapping[str, Mapping[str, int]], totals: Mapping[str, int]) -> Iterator[str]:
    shown = dict(list(rows.items())[:_MOST_SHOWN_CLASSES])
    width = max(len(what), len("all"), *map(len, shown))
    yield f"{what:<{width}}" + "".join(f"{split:>20}" for split in SPLITS)
    for name, counts in [*shown.items(), ("all", totals)]:
        of_name = sum(counts.values())
        cells = (f"{counts[split]:,} ({counts[split] / of_name if of_name else 0:.1%})" for split in SPLITS)
        yield f"{name:<{width}}" + "".join(f"{cell:>20}" for cell in cells)
    if len(rows) > len(shown):
        yield f"... and {len(rows) - len(shown):,} more"
