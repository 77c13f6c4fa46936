"""Makes and saves figures with matplotlib, without a display."""

import functools
import pathlib
from collections.abc import Iterable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageFont

from dlexp.machine.atomic import atomic_file

DPI = 120
_COMPRESS_LEVEL = 3  # of 9: twice as fast as 6, and 5 % larger


def show_pixels(axes: Axes, image: np.ndarray, *, extent: tuple[float, float, float, float]) -> None:
    """Draws a `uint8` image (height, width, 1 or 3) into a box (left, right, bottom, top) of the axes."""
    pixels = image.squeeze(-1) if image.shape[-1] == 1 else image
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")


def make_figure(width: float, height: float, *, margins: tuple[float, float, float, float] | None = None) -> Figure:
    """Makes an empty figure.

    Args:
        width: in inches.
        height: in inches.
        margins: in inches: left, bottom, right, top; None: matplotlib measures all text to find them, which takes as
            long as drawing.
    """
    # A separate Figure, without pyplot: no global state, no display, safe in any thread.
    figure = Figure(figsize=(width, height), dpi=DPI, layout=None if margins else "constrained")
    if margins:
        left, bottom, right, top = margins
        figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)
    return figure


def save_figure(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG, atomically."""
    # `savefig` would draw everything twice, and its PNG has an alpha channel and takes three times as long to compress.
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    save_image(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"), path)


def save_image(image: Image.Image, path: pathlib.Path) -> None:
    """Writes an image as PNG, atomically."""
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG", compress_level=_COMPRESS_LEVEL, dpi=(DPI, DPI))


@functools.cache
def font(points: float) -> ImageFont.FreeTypeFont:
    """Returns matplotlib's default font for Pillow, in a size given in points."""
    path = pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, points * DPI / 72)


def longest_inches(texts: Iterable[str], points: float) -> float:
    """Returns the width of the longest text, in inches."""
    return max((font(points).getlength(text) for text in texts), default=0.0) / DPI


def fit_width(text: str, *, points: float, inches: float) -> str:
    """Returns the text; if it is wider than `inches`, its beginning and end with an ellipsis between them."""
    width = longest_inches([text], points)
    most = len(text) if width <= inches else int(len(text) * inches / width)
    while most > 1 and longest_inches([shorten(text, most)], points) > inches:
        most -= 1
    return shorten(text, most)


def shorten(text: str, most: int) -> str:
    """Returns the text; if it has more than `most` characters, its beginning and end with an ellipsis between them.

    The end is kept because similar long names often differ there.
    """
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return text[: most - 1 - end] + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - end :]
