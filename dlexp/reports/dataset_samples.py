"""Draws a dataset: unaugmented examples of each class."""

import pathlib

from dlexp.datasets import Dataset
from dlexp.reports.figure import shorten
from dlexp.reports.image_grid import EMPTY, draw_images

_MOST_CLASSES = 20


def write_samples(dataset: Dataset, path: pathlib.Path, *, per_class: int = 10) -> None:
    """Draws the first training examples of each class, one class per row, sorted by key and without augmentation.

    With several sources, the caption of an image names its source.

    Args:
        dataset: its first 20 classes are drawn.
        path: of the PNG file.
        per_class: number of examples of each class.
    """
    train = dataset.manifest[dataset.manifest["split"] == "train"]
    shown_classes = min(dataset.num_classes, _MOST_CLASSES)
    shown = train[train["label"] < shown_classes].sort_values("key").groupby("label").head(per_class)
    shown = shown.sort_values(["label", "key"])
    with_source = train["source"].nunique() > 1
    images, captions = [], []
    for label, examples in shown.groupby("label"):
        padding = per_class - len(examples)
        images += [*(dataset.source.read(row) for row in examples["row"]), *[EMPTY] * padding]
        name = dataset.class_names[int(str(label))]
        captions += [f"{name}\n{source}" if with_source else name for source in examples["source"]] + [""] * padding
    title = f"{shorten(dataset.name, 44)} ({dataset.id}): {len(train):,} training examples, the first of each class"
    if shown_classes < dataset.num_classes:
        title += f"\n{shown_classes} of {dataset.num_classes} classes"
    draw_images(path, images, captions, title=title, columns=per_class, inches=1.0)
