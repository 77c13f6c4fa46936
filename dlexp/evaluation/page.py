"""`report.html`: all scores and pictures of a split in one file, for people; it needs no network and no scripts."""

import base64
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2
from PIL import Image

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
    images = {name: _embed(path, _CAPTIONS[name]) for name, path in pictures.items()}
    shown_above = {"accuracy", *(f"top{k}_accuracy" for k in report["top_k"])}
    return _template().render(report=report, images=images, shown_above=shown_above)


def _embed(path: pathlib.Path, caption: str) -> dict[str, Any]:
    """What the page shows of a picture: its bytes in base64, its width in pixels, and its caption."""
    with Image.open(path) as image:
        width = image.width
    return {"data": base64.b64encode(path.read_bytes()).decode("ascii"), "width": width, "caption": caption}


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dlexp.evaluation", package_path=""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = lambda value: "" if value is None else f"{value:.2%}"
    return environment.get_template("page.html")


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.4f}"
