"""Builds `report.html`: all scores and pictures of a split in one file that needs no network and no scripts."""

import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.reports.page import embed_picture, render_page

_CAPTIONS = {
    "confusion": "Confusion matrix: true classes in rows, predicted classes in columns.",
    "per_class": "Precision, recall and F1 of each class; the smallest F1 is at the top.",
    "roc": "ROC curves, each class against the rest.",
    "precision_recall": "Precision-recall curves, each class against the rest.",
    "reliability": "Reliability diagram: how often the model is right (bars), by how confident it is. Where a bar ends "
    "below the diagonal, the model is overconfident. Below: the number of examples in each bin.",
    "mistakes": "The most confident mistakes; the probability of the predicted class is in brackets.",
    "least_confident": "The least confident predictions, right or wrong; the probability of the predicted class is in "
    "brackets.",
}


def build_page(report: Mapping[str, Any], pictures: Mapping[str, pathlib.Path]) -> str:
    """Builds the HTML text of the page.

    Args:
        report: from `build_report`.
        pictures: PNG files by name; they are embedded in the page.
    """
    images = {name: embed_picture(path, _CAPTIONS[name]) for name, path in pictures.items()}
    shown_above = {"accuracy", *(f"top{k}_accuracy" for k in report["top_k"])}
    return render_page("dlexp.evaluation", "page.html", report=report, images=images, shown_above=shown_above)
