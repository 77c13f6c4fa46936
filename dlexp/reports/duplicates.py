"""Draws the duplicate images of a dataset for inspection, one group per row."""

import pathlib

import numpy as np
import pandas as pd

from dlexp.datasets import Dataset
from dlexp.reports.image_grid import EMPTY, draw_images

_LEAST_COLUMNS, _MOST_COLUMNS = 3, 6  # the title needs three


def draw_duplicates(path: pathlib.Path, dataset: Dataset, groups: pd.DataFrame, *, most_groups: int = 20) -> None:
    """Draws groups of duplicates, one group per row, with key, class and split above each image.

    Args:
        path: of the PNG file.
        dataset: contains the duplicates.
        groups: as in `Duplicates`. Near duplicates come before equal images, because a person has to judge them. At
            most six images of a group are drawn.
        most_groups: maximum number of groups that are drawn.
    """
    columns = ["key", "row", "label", "split", "digest"]
    examples = dataset.manifest[columns].iloc[groups["position"]].assign(group=groups["group"].to_numpy())
    by_group = examples.groupby("group")
    near_first = by_group["digest"].nunique().eq(1).sort_values(kind="stable").index
    width = int(np.clip(by_group.size().max() if len(near_first) else 0, _LEAST_COLUMNS, _MOST_COLUMNS))

    images: list[np.ndarray] = []
    captions: list[str] = []
    for group in near_first[:most_groups]:
        copies = by_group.get_group(group)
        for key, row, label, split in copies[columns[:4]].head(width).itertuples(index=False, name=None):
            images.append(dataset.source.read(row))
            captions.append(f"{_end_of(key)}\n{dataset.class_names[label]} \N{MIDDLE DOT} {split}")
        if len(copies) > width:
            captions[-1] += f"\nand {len(copies) - width:,} more"
        padding = -len(images) % width
        images += [EMPTY] * padding
        captions += [""] * padding
    shown = f", {most_groups} shown" if len(near_first) > most_groups else ""
    title = (
        f"{dataset.name}\n{len(near_first):,} groups of duplicates, one per row{shown}\nabove images: key, class, split"
    )
    draw_images(path, images, captions, title=title, columns=width, inches=1.6)


def _end_of(key: str) -> str:
    """Returns the end of a key; the end of a path says more than its beginning."""
    return key if len(key) <= 27 else "\N{HORIZONTAL ELLIPSIS}" + key[-26:]
