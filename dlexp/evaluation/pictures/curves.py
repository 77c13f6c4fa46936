"""Draws one-vs-rest ROC and precision-recall curves."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import pts_to_poststep
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from dlexp.evaluation.scores import Curve
from dlexp.reports.figure import make_figure, save_figure, shorten

_MOST_COLORED = 10
_NAME_CHARS = 18
_SIZE, _MARGINS = (7.2, 4.75), (0.65, 0.55, 2.35, 0.55)  # the legend is at the right


def draw_roc(path: pathlib.Path, curves: Sequence[Curve | None], class_names: Sequence[str], *, title: str) -> None:
    """Draws the ROC curve of every class; of more than ten, only the ten with the smallest area are in colour.

    Args:
        path: of the PNG file.
        curves: of every class; None is left out.
        class_names: name of each label.
        title: above the picture.
    """
    lines = [
        (label, curve.false_positive_rate, curve.true_positive_rate, curve.roc_auc)
        for label, curve in enumerate(curves)
        if curve is not None
    ]
    figure, axes = _make_axes(title, xlabel="false positive rate", ylabel="true positive rate (recall)")
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1, label="chance")
    _draw_lines(axes, lines, class_names, area="AUC")
    save_figure(figure, path)


def draw_precision_recall(
    path: pathlib.Path, curves: Sequence[Curve | None], class_names: Sequence[str], *, title: str
) -> None:
    """Draws the precision-recall curve of every class, like `draw_roc`.

    Args:
        path: of the PNG file.
        curves: of every class; None is left out.
        class_names: name of each label.
        title: above the picture.
    """
    lines = [
        (label, curve.recall, curve.precision, curve.average_precision)
        for label, curve in enumerate(curves)
        if curve is not None
    ]
    figure, axes = _make_axes(title, xlabel="recall", ylabel="precision")
    _draw_lines(axes, lines, class_names, area="AP", steps=True)
    save_figure(figure, path)


def _make_axes(title: str, *, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    figure = make_figure(*_SIZE, margins=_MARGINS)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_title(title, fontsize=10)
    axes.grid(color="#eeeeee")
    return figure, axes


def _draw_lines(
    axes: Axes,
    lines: Sequence[tuple[int, np.ndarray, np.ndarray, float]],
    class_names: Sequence[str],
    *,
    area: str,
    steps: bool = False,
) -> None:
    """Draws a line for every (label, x, y, area); small areas are drawn on top and come first in the legend."""
    worst_first = sorted(lines, key=lambda line: line[3])
    colored, others = worst_first[:_MOST_COLORED], worst_first[_MOST_COLORED:]
    style = "steps-post" if steps else "default"
    # One collection: 1,500 lines would take seconds.
    points = [np.transpose(pts_to_poststep(x, y) if steps else (x, y)) for _, x, y, _ in others]
    axes.add_collection(LineCollection(points, colors="#c8c8c8", linewidths=0.6), autolim=False)
    for rank, (label, x, y, value) in enumerate(colored):
        name = f"{shorten(class_names[label], _NAME_CHARS)}  {value:.3f}"
        axes.plot(x, y, color=f"C{rank}", linewidth=1.4, label=name, zorder=3 + len(colored) - rank, drawstyle=style)
    if others:
        axes.plot([], [], color="#c8c8c8", label=f"{len(others)} others")
    if not lines:
        axes.text(0.5, 0.25, "no class has positive\nand negative examples", ha="center", va="center", color="gray")
        return
    heading = f"one-vs-rest {area}" + (f",\nthe {len(colored)} smallest" if others else "")
    legend = axes.legend(title=heading, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, frameon=False)
    legend.get_title().set_fontsize(8)
