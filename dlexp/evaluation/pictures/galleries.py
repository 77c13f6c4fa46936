"""Draws image galleries: examples of a split that are worth a look."""

import pathlib

import pandas as pd

from dlexp.datasets import Dataset
from dlexp.evaluation.split_prediction import Predictions
from dlexp.reports.figure import shorten
from dlexp.reports.image_grid import draw_images

_MOST_IMAGES = 25
_COLUMNS, _INCHES = 5, 1.9


def draw_mistakes(path: pathlib.Path, predictions: Predictions, dataset: Dataset) -> None:
    """Draws the most confident mistakes, with true and predicted class."""
    table = predictions.table
    wrong = table[table["label"] != table["prediction"]]
    shown = wrong.sort_values("confidence", ascending=False, kind="stable").head(_MOST_IMAGES)
    title = f"{shorten(dataset.name, 44)}, {predictions.split} split\n{len(wrong):,} mistakes of {len(table):,}"
    if len(wrong) > len(shown):
        title += f", the {len(shown)} most confident"
    _draw_gallery(path, shown, dataset, title=title)


def draw_least_confident(path: pathlib.Path, predictions: Predictions, dataset: Dataset) -> None:
    """Draws the examples with the least confident predictions, right or wrong."""
    shown = predictions.table.sort_values("confidence", kind="stable", na_position="first").head(_MOST_IMAGES)
    about = f"{shorten(dataset.name, 44)}, {predictions.split} split"
    title = f"{about}\nthe {len(shown)} least confident of {len(predictions.table):,}"
    _draw_gallery(path, shown, dataset, title=title)


def _draw_gallery(path: pathlib.Path, shown: pd.DataFrame, dataset: Dataset, *, title: str) -> None:
    names = dataset.class_names
    captions = [
        f"{names[label]}: right ({confidence:.0%})"
        if label == prediction
        else f"is {names[label]}\npredicted {names[prediction]} ({confidence:.0%})"
        for label, prediction, confidence in zip(shown["label"], shown["prediction"], shown["confidence"], strict=True)
    ]
    rows = dataset.manifest.set_index("key").loc[shown["key"], "row"]
    draw_images(
        path, [dataset.source.read(row) for row in rows], captions, title=title, columns=_COLUMNS, inches=_INCHES
    )
