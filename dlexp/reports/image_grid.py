"""Draws images with captions in a grid.

It uses Pillow with matplotlib's font: matplotlib itself takes ten times as long for a hundred images.
"""

import math
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from dlexp.reports.figure import DPI, fit_width, font, save_image

EMPTY = np.full((1, 1, 1), 255, np.uint8)  # a place of the grid without an image
_CELL_HEIGHT = 1.3
_SIDE = 0.92  # of an image, in cells
_TITLE_INCHES_A_LINE, _TITLE_POINTS, _CAPTION_POINTS = 0.3, 11, 8


def draw_images(
    path: pathlib.Path,
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    *,
    title: str,
    columns: int,
    inches: float,
) -> None:
    """Draws images in a grid, with a caption above each image; without images, the picture says "nothing to show".

    Args:
        path: of the PNG file.
        images: `uint8` arrays `(height, width, 1 or 3)`.
        captions: one for each image, of up to three lines; a line is shortened to the width of an image.
        title: text above the grid; a line is shortened to the width of the grid.
        columns: number of images in a row of the grid.
        inches: width of a cell of the grid.
    """
    rows, unit = max(1, math.ceil(len(images) / columns)), inches * DPI
    top = round((0.1 + _TITLE_INCHES_A_LINE * len(title.split("\n"))) * DPI)
    sheet = Image.new("RGB", (round(columns * unit), top + round(rows * _CELL_HEIGHT * unit)), "white")
    draw = ImageDraw.Draw(sheet)
    heading = _fit(title, points=_TITLE_POINTS, inches=0.98 * columns * inches)
    draw.multiline_text((sheet.width / 2, top / 2), heading, "black", font(_TITLE_POINTS), "mm", align="center")
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, bottom = position % columns * unit, top + (position // columns + 1) * _CELL_HEIGHT * unit
        # Wider captions would touch their neighbours.
        text = _fit(caption, points=_CAPTION_POINTS, inches=_SIDE * inches)
        above = bottom - 0.98 * unit
        draw.multiline_text((left + unit / 2, above), text, "black", font(_CAPTION_POINTS), "md", align="center")
        _place_image(sheet, image, centre=left + unit / 2, top=bottom - 0.96 * unit, side=_SIDE * unit)
    if not len(images):
        middle = (sheet.width / 2, (top + sheet.height) / 2)
        draw.text(middle, "nothing to show", "gray", font(_TITLE_POINTS), "mm")
    save_image(sheet, path)


def _fit(text: str, *, points: float, inches: float) -> str:
    return "\n".join(fit_width(line, points=points, inches=inches) for line in text.split("\n"))


def _place_image(sheet: Image.Image, image: np.ndarray, *, centre: float, top: float, side: float) -> None:
    """Puts an image at the top of a square of `side` pixels, and keeps its aspect ratio."""
    scale = side / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    resampling = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    pixels = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).resize((width, height), resampling)
    sheet.paste(pixels, (round(centre - width / 2), round(top)))
