"""Draws the confusion matrix of an evaluation."""

import pathlib
from collections.abc import Sequence

import numpy as np

from dlexp.reports.figure import longest_inches, make_figure, save_figure, shorten

_MOST_LABELLED_CLASSES = 40
_MOST_NUMBERED_CLASSES = 20


def draw_confusion(path: pathlib.Path, matrix: np.ndarray, class_names: Sequence[str], *, title: str) -> None:
    """Draws a confusion matrix: shade is the share of the true class, the number is the count.

    Args:
        path: of the PNG file.
        matrix: counts `(num_classes, num_classes)`; row: true class, column: predicted class.
        class_names: name of each label.
        title: text above the picture.
    """
    classes = len(class_names)
    labelled = classes <= _MOST_LABELLED_CLASSES
    shown = [shorten(name, 16) for name in class_names] if labelled else []
    longest = longest_inches(shown, 8)
    upright = longest > 0.35
    below = 0.75 * longest if upright else 0.1
    side = min(max(3.2, 0.45 * classes), 12) if labelled else 7
    margins = (0.75 + longest, 0.65 + below, 0.2, 0.6)
    figure = make_figure(side * 1.2 + margins[0] + margins[2], side + margins[1] + margins[3], margins=margins)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    number = "" if labelled else " (number)"
    axes.set(xlabel=f"predicted class{number}", ylabel=f"true class{number}")
    figure.suptitle(title, fontsize=10)
    if labelled:
        axes.set_xticks(
            range(classes), shown, rotation=45 if upright else 0, ha="right" if upright else "center", fontsize=8
        )
        axes.set_yticks(range(classes), shown, fontsize=8)
    if classes <= _MOST_NUMBERED_CLASSES:
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=7)
    save_figure(figure, path)
