"""What a dataset consists of: sources, counts, sizes and the statistics of its pixels, as plain values and as text."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from dlexp.datasets.dataset import Dataset
from dlexp.datasets.sources.combined import damage_of
from dlexp.datasets.sources.source import SPLITS

_MOST_MEASURED = 1000
_MOST_SHOWN_CLASSES = 30


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Describes a dataset without reading pixels, in values that JSON can hold.

    Returns:
        name, id, classes (number), image_shape, examples, left_out (images that cannot be read), counts (by split),
        counts_by_class and counts_by_source (each a mapping to counts by split), num_sizes, sizes (examples by
        `HEIGHTxWIDTH`, the most frequent first, at most ten), and, if weights differ, weights (by source).
    """
    manifest = dataset.manifest
    sizes = (manifest["height"].astype("str") + "x" + manifest["width"].astype("str")).value_counts()
    weights = manifest.groupby("source")["weight"].first().to_dict() if "weight" in manifest else {}
    return {
        "name": dataset.name,
        "id": dataset.id,
        "classes": dataset.num_classes,
        "image_shape": list(dataset.image_shape),
        "examples": len(manifest),
        "left_out": len(damage_of(dataset.source)),
        "counts": {split: dataset.count(split) for split in SPLITS},
        "counts_by_class": _by_split(dataset.counts()),
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
    yield from _table_lines("class", description["counts_by_class"], description["counts"])
    if len(description["counts_by_source"]) > 1:
        weights = description.get("weights", {})
        named = {
            name + (f" (weight {weights[name]:g})" if weights.get(name, 1) != 1 else ""): counts
            for name, counts in description["counts_by_source"].items()
        }
        yield ""
        yield from _table_lines("source", named, description["counts"])


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
