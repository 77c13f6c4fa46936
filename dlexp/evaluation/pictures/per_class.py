"""Draws precision, recall and F1 of every class."""

import pathlib
from collections.abc import Sequence

import numpy as np

from dlexp.evaluation.scores import ClassScores
from dlexp.reports.figure import longest_inches, make_figure, save_figure, shorten

_MOST_CLASSES = 40
_NAME_CHARS = 24
_MARKS = {"precision": ("<", "#4878a8"), "recall": (">", "#dd8452"), "f1": ("o", "black")}


def draw_per_class(path: pathlib.Path, scores: ClassScores, class_names: Sequence[str], *, title: str) -> None:
    """Draws precision, recall and F1 of the classes, the smallest F1 at the top; of more than 40 classes, the worst 40.

    Args:
        path: of the PNG file.
        scores: per class; a score that is not defined is not drawn.
        class_names: name of each label.
        title: above the picture.
    """
    order = np.argsort(np.where(np.isnan(scores.f1), np.inf, scores.f1), kind="stable")[:_MOST_CLASSES]
    labels = [f"{shorten(class_names[label], _NAME_CHARS)} ({scores.support[label]:,})" for label in order]
    margins = (0.6 + longest_inches(labels, 8), 0.6, 1.1, 0.75)
    figure = make_figure(4.5 + margins[0] + margins[2], 1.35 + 0.24 * max(len(order), 4), margins=margins)
    axes = figure.add_subplot()
    places = np.arange(len(order))
    for name, (marker, color) in _MARKS.items():
        axes.plot(
            getattr(scores, name)[order], places, marker, color=color, markersize=5, label=name.replace("f1", "F1"),
            clip_on=False,
        )  # fmt: skip
    axes.set_yticks(places, labels, fontsize=8)
    drawn = np.concatenate([getattr(scores, name)[order] for name in _MARKS])
    axes.set(
        xlim=(max(0.0, np.floor(10 * np.nanmin(drawn)) / 10 - 0.1), 1),
        ylim=(len(order) - 0.5, -0.5),
        xlabel="score",
        ylabel="class (examples)",
    )
    axes.grid(color="#e4e4e4")
    is_part = len(order) < len(class_names)
    shown = f"\nthe {len(order)} classes with the smallest F1, of {len(class_names)}" if is_part else ""
    axes.set_title(title + shown, fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False)
    save_figure(figure, path)
