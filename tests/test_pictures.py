"""Pictures are drawn, whole, for any number of images and classes."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from dlexp.gallery import draw_images
from dlexp.pictures import draw_confusion


@pytest.mark.parametrize("count", [0, 1, 7])
def test_gallery_grows_with_the_number_of_images(tmp_path: pathlib.Path, count: int) -> None:
    images = [np.full((8, 6 + n, 3 if n % 2 else 1), 200, np.uint8) for n in range(count)]
    draw_images(tmp_path / "a.png", images, ["a\nb"] * count, title="title", columns=5, inches=1.0)
    with Image.open(tmp_path / "a.png") as picture:
        width, height = picture.size
    assert width == 600
    assert height == pytest.approx(120 * (0.4 + 1.3 * (2 if count > 5 else 1)), abs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("classes", [2, 10, 60])
def test_confusion_matrix_is_drawn_also_with_an_empty_class(tmp_path: pathlib.Path, classes: int) -> None:
    matrix = np.diag(np.arange(classes))
    draw_confusion(tmp_path / "a.png", matrix, [f"class {n}" for n in range(classes)], title="title")
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.min() < 100 < pixels.max()
