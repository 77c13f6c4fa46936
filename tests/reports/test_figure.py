"""Pictures are drawn, whole, for any number of images and classes."""

import pathlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dlexp.evaluation.pictures.confusion import draw_confusion
from dlexp.reports.figure import fit_width, longest_inches
from dlexp.reports.image_grid import draw_images
from dlexp.training.callbacks.validation_examples import draw_validation_examples

LONG = "a name of very many W" * 6


@given(st.text(alphabet="iW\N{LATIN SMALL LETTER A WITH DIAERESIS} ", max_size=80), st.floats(0.3, 3))
def test_text_is_shortened_until_it_fits(text: str, inches: float) -> None:
    fitting = fit_width(text, points=8, inches=inches)
    assert longest_inches([fitting], 8) <= inches
    assert fitting == text or "\N{HORIZONTAL ELLIPSIS}" in fitting


@pytest.mark.parametrize("count", [0, 1, 7])
def test_gallery_grows_with_the_number_of_images(tmp_path: pathlib.Path, count: int) -> None:
    images = [np.full((8, 6 + n, 3 if n % 2 else 1), 200, np.uint8) for n in range(count)]
    draw_images(tmp_path / "a.png", images, ["a\nb"] * count, title="title", columns=5, inches=1.0)
    with Image.open(tmp_path / "a.png") as picture:
        width, height = picture.size
    assert width == 600
    assert height == pytest.approx(120 * (0.4 + 1.3 * (2 if count > 5 else 1)), abs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def read_gray(path: pathlib.Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def test_long_captions_and_titles_leave_a_margin_around_them(tmp_path: pathlib.Path) -> None:
    white = [np.full((8, 8, 3), 255, np.uint8)] * 6
    draw_images(tmp_path / "a.png", white, [f"{LONG}\n{LONG}"] * 6, title=LONG, columns=3, inches=1.0)
    pixels = read_gray(tmp_path / "a.png")
    captions = pixels[round(0.4 * 120) :]
    between = [column + shift for column in (120, 240) for shift in (-3, 0, 3)]
    assert captions.min() < 100
    assert captions[:, between].min() == 255
    assert pixels[:, [0, -1]].min() == 255


@pytest.mark.parametrize("epochs", [1, 3, 30])
def test_validation_examples_have_their_whole_title_with_a_long_name(tmp_path: pathlib.Path, epochs: int) -> None:
    rows = [{"epoch": epoch, "key": "a", "label": 0, "prediction": 1} for epoch in range(1, epochs + 1)]
    table = pd.DataFrame(rows).assign(probability_of_label=0.3)
    images = np.full((1, 8, 8, 1), 128, np.uint8)
    draw_validation_examples(tmp_path / "a.png", table, images, ["cat", LONG], name=LONG)
    pixels = read_gray(tmp_path / "a.png")
    assert pixels[:40].min() < 100
    assert pixels[:40, [0, 1, -2, -1]].min() == 255


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_confusion_matrix_is_drawn_also_with_an_empty_class(tmp_path: pathlib.Path, classes: int) -> None:
    matrix = np.diag(np.arange(classes))
    draw_confusion(tmp_path / "a.png", matrix, [f"class {n}" for n in range(classes)], title="title")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.min() < 100 < pixels.max()
