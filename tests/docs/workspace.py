"""The folder that the commands of a page are typed in: small data of every kind that the pages speak of."""

import gzip
import pathlib

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

_CLASSES = ("cat", "dog", "horse")
_CROP = 28


def write_workspace(folder: pathlib.Path) -> None:
    """Writes `photos/`, `new_photos/`, `ours/`, `theirs/`, `scans/`, `scans.csv` and `mnist/`."""
    _write_photos(folder / "photos", _CLASSES, count=300)
    _write_photos(folder / "ours", _CLASSES, count=120, first=300)
    _write_photos(folder / "theirs", ("blurred", "dog", "kitty"), count=90, first=420)
    _write_unsorted(folder / "new_photos", count=12)
    _write_scans(folder)
    _write_mnist(folder / "mnist")


def _pictures(first: int, count: int) -> list[tuple[Image.Image, int]]:
    """Digits 0, 1 and 2 in colour, 32 pixels high, with their labels."""
    digits = load_digits()
    chosen = [number for number, label in enumerate(digits.target) if label < len(_CLASSES)][first : first + count]
    pictures = []
    for number in chosen:
        grey = Image.fromarray(np.round(digits.images[number] * (255 / 16)).astype(np.uint8))
        colour = grey.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB")
        pictures.append((colour, int(digits.target[number])))
    return pictures


def _write_photos(root: pathlib.Path, classes: tuple[str, ...], *, count: int, first: int = 0) -> None:
    written = dict.fromkeys(classes, 0)
    for picture, label in _pictures(first, count):
        name = classes[label]
        written[name] += 1
        path = root / name / f"{written[name]:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def _write_unsorted(root: pathlib.Path, *, count: int) -> None:
    root.mkdir()
    for number, (picture, _) in enumerate(_pictures(510, count), start=1):
        picture.save(root / f"{number}.png")


def _write_scans(folder: pathlib.Path) -> None:
    """A table of image files, four of each patient."""
    (folder / "scans").mkdir()
    rows = ["path,label,patient"]
    for number, (picture, label) in enumerate(_pictures(0, 120)):
        picture.save(folder / "scans" / f"{number}.png")
        rows.append(f"scans/{number}.png,{_CLASSES[label]},p{number // 4}")
    (folder / "scans.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_mnist(root: pathlib.Path) -> None:
    """Files in MNIST's format (big-endian: magic number, sizes, bytes), gzipped: digits, 28 pixels high."""
    root.mkdir()
    digits = load_digits()
    for prefix, rows in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        images = np.stack(
            [
                np.asarray(Image.fromarray(image.astype(np.uint8) * 15).resize((_CROP, _CROP)))
                for image in digits.images[rows]
            ]
        )
        labels = digits.target[rows].astype(np.uint8)
        header = np.array([0x803, *images.shape], ">i4").tobytes()
        (root / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        header = np.array([0x801, len(labels)], ">i4").tobytes()
        (root / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))
