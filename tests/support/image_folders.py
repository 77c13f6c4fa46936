"""Folders of images for tests, written from the digits."""

import pathlib

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits_folder(root: pathlib.Path, count: int, *, ending: str = ".png", side: int = 8) -> pathlib.Path:
    """Writes the first `count` digits, `side` pixels high, as `root/<class>/<number><ending>`, and gives `root`."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:count], digits.target[:count], strict=True)):
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.round(pixels * (255 / 16)).astype(np.uint8))
        image.resize((side, side), Image.Resampling.BILINEAR).save(folder / f"{number:04d}{ending}")
    return root
