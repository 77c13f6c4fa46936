"""Pictures of a run, drawn with matplotlib without a display."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dlexp.atomic import atomic_file

_MOST_LABELLED_CLASSES = 40
_MOST_NUMBERED_CLASSES = 20
_DPI = 120
_CELL_HEIGHT = 1.3


def draw_confusion(path: pathlib.Path, matrix: np.ndarray, class_names: Sequence[str], *, title: str) -> None:
    """Draws a confusion matrix: shade is the share of the true class, the number is the count.

    Args:
        path: of the PNG file.
        matrix: counts `(num_classes, num_classes)`; row: true class, column: predicted class.
        class_names: name of each label.
        title: above the picture.
    """
    classes = len(class_names)
    side = min(max(4.5, 0.45 * classes + 2.5), 14)
    figure = make_figure(side * 1.12, side)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(title, fontsize=10)
    if classes <= _MOST_LABELLED_CLASSES:
        shown = [shorten(name, 16) for name in class_names]
        upright = max(map(len, shown)) > 3
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


def draw_images(
    path: pathlib.Path,
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    title: str,
    columns: int,
    inches: float,
) -> None:
    """Draws images in a grid, each with its caption above; none gives a picture that says so.

    Args:
        path: of the PNG file.
        images: each `uint8` (height, width, 1 or 3).
        captions: one for each image.
        title: above the grid.
        columns: images in a row of the grid.
        inches: width of an image.
    """
    rows = max(1, math.ceil(len(images) / columns))
    figure = make_figure(inches * columns, inches * _CELL_HEIGHT * rows + 0.4)
    figure.suptitle(title, fontsize=11)
    # All images in one pair of axes, each in a cell of 1 by _CELL_HEIGHT: axes of their own take a second for twenty.
    axes = figure.add_subplot()
    axes.axis("off")
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = position % columns + 0.04, position // columns * _CELL_HEIGHT
        text = "\n".join(shorten(line, round(17 * inches)) for line in caption.split("\n"))
        axes.text(left + 0.46, top + _CELL_HEIGHT - 0.98, text, ha="center", va="bottom", fontsize=8)
        _place_image(axes, image, left=left, bottom=top + _CELL_HEIGHT - 0.04)
    if not len(images):
        axes.text(columns / 2, 0.5, "nothing to show", ha="center", fontsize=12, color="gray")
    axes.set(xlim=(0, columns), ylim=(rows * _CELL_HEIGHT, 0), aspect="equal")
    save_figure(figure, path)


def _place_image(axes: Axes, image: np.ndarray, *, left: float, bottom: float) -> None:
    """Draws an image into a square of 0.92, with its own proportions."""
    height, width = (side / max(image.shape[:2]) * 0.92 for side in image.shape[:2])
    left += (0.92 - width) / 2
    show_pixels(axes, image, extent=(left, left + width, bottom, bottom - height))


def show_pixels(axes: Axes, image: np.ndarray, *, extent: tuple[float, float, float, float]) -> None:
    """Draws a `uint8` image (height, width, 1 or 3) into a box (left, right, bottom, top) of the axes."""
    pixels = image.squeeze(-1) if image.shape[-1] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")


def make_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    # A Figure of its own, without pyplot: no global state, no display, safe in any thread.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=_DPI, format="png")


def shorten(text: str, most: int) -> str:
    """The text, or its beginning with an ellipsis where it has more than `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
