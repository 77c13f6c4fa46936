"""`report.html`: all scores and pictures of a split in one file, for people; it needs no network and no scripts."""

import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.reports.page import embed_picture, render_page

_CAPTIONS = {
    "confusion": "Confusion matrix: true classes in rows, predicted ones in columns.",
    "per_class": "Precision, recall and F1 of each class, the smallest F1 on top.",
    "roc": "ROC curves, each class against the rest.",
    "precision_recall": "Precision-recall curves, each class against the rest.",
    "reliability": "Reliability: how often the model is right (bars), by how sure it is. Bars below the diagonal are "
    "overconfident. Below: how many examples each bar stands for.",
    "mistakes": "The mistakes that the model was most sure of; in brackets the probability of the predicted class.",
    "least_confident": "The examples that the model was least sure of, right or wrong; in brackets the probability of "
    "the predicted class.",
}


def build_page(report: Mapping[str, Any], pictures: Mapping[str, pathlib.Path]) -> str:
    """Makes the HTML text.

    Args:
        report: from `build_report`.
        pictures: PNG files by name, which are embedded.
    """
    images = {name: embed_picture(path, _CAPTIONS[name]) for name, path in pictures.items()}
    shown_above = {"accuracy", *(f"top{k}_accuracy" for k in report["top_k"])}
    return render_page("dlexp.evaluation", "page.html", report=report, images=images, shown_above=shown_above)
