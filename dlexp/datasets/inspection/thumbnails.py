"""Thumbnails of all images of a dataset: 1,152 bytes each, enough to compare images without holding them."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dlexp.datasets.dataset import Dataset

SIDE, COLOR_SIDE = 32, 8
_NO_COLOR = 128
_BLOCK = 256  # images that a thread takes at once: to pass on one costs as much as to shrink a small image
_DECODED_SIDE = 2 * SIDE  # a large JPEG is decoded at a fraction of its size, not smaller than this
_REDUCING_GAP = 3.0  # for Pillow: shrink by a whole factor to at least three times the size, then filter; a safe value
_GREY_MODES = frozenset(("1", "L"))
_MODES = _GREY_MODES | {"P", "RGB", "CMYK", "YCbCr"}  # of 8 bits: Pillow converts others differently


@dataclass(frozen=True)
class Thumbnails:
    """Images resized to squares of one size.

    Attributes:
        grey: `uint8` `(n, 32, 32)`, the luma of ITU-R BT.601.
        color: `uint8` `(n, 8, 8, 2)`, its Cb and Cr; all 128 where the image is grey.
        sides: `int64` `(n,)`, the smaller of height and width of the image itself.
    """

    grey: np.ndarray
    color: np.ndarray
    sides: np.ndarray

    def __len__(self) -> int:
        return len(self.grey)


def make_thumbnails(dataset: Dataset, positions: np.ndarray) -> tuple[Thumbnails, dict[int, str]]:
    """Reads and shrinks images in threads; a thread holds one image at a time.

    If a file holds exactly the image, Pillow decodes it, a large JPEG at a fraction of its size. All other images are
    read through the source. The same bilinear filter shrinks or enlarges images of all sizes.

    Args:
        dataset: the dataset of the images.
        positions: `int64` `(n,)`, rows of its manifest.

    Returns:
        The `n` thumbnails; and, for images that cannot be read, the reasons by index in `positions`. Their thumbnails
        are black.
    """
    rows = dataset.manifest[["path", "row", "height", "width"]].iloc[positions]
    examples = list(rows.itertuples(index=False, name=None))
    grey = np.empty((len(examples), SIDE, SIDE), np.uint8)
    color = np.empty((len(examples), COLOR_SIDE, COLOR_SIDE, 2), np.uint8)
    reasons: dict[int, str] = {}

    def fill(start: int) -> None:
        block = np.zeros((len(grey[start : start + _BLOCK]), SIDE, SIDE, 3), np.uint8)
        for number, example in enumerate(examples[start : start + _BLOCK]):
            try:
                block[number] = _shrink(_read(dataset, *example))
            except Exception as err:  # noqa: BLE001 - Pillow and plug-ins raise anything
                reasons[start + number] = str(err) or type(err).__name__
        grey[start : start + _BLOCK] = block[..., 0]
        color[start : start + _BLOCK] = _average(block[..., 1:])

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, len(examples), _BLOCK)))
    sides = rows[["height", "width"]].to_numpy().min(axis=1)
    return Thumbnails(grey, color, sides), dict(sorted(reasons.items()))


def _read(dataset: Dataset, path: str, row: int, height: int, width: int) -> Image.Image:
    """Reads an image in a mode of `_MODES`."""
    if path:
        # A plug-in may cut several examples from one file, or read a file in its own way.
        try:
            with Image.open(path) as image:
                is_opaque = not image.has_transparency_data  # the source composites all others over white
                if image.size == (width, height) and image.mode in _MODES and is_opaque:
                    image.draft(None, (_DECODED_SIDE, _DECODED_SIDE))
                    image.load()
                    return image
        except (OSError, SyntaxError, Image.DecompressionBombError):
            pass  # the source can read it, or reports what is wrong
    pixels = dataset.source.read(row)
    return Image.fromarray(np.ascontiguousarray(pixels[..., :3]) if pixels.shape[-1] >= 3 else pixels[..., 0])


def _shrink(image: Image.Image) -> np.ndarray:
    """Returns Y, Cb and Cr of the thumbnail: `uint8` `(32, 32, 3)`."""
    plain = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    small = plain.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    if small.mode == "RGB":
        return np.asarray(small.convert("YCbCr"))
    pixels = np.full((SIDE, SIDE, 3), _NO_COLOR, np.uint8)
    pixels[..., 0] = np.asarray(small)
    return pixels


def _average(color: np.ndarray) -> np.ndarray:
    """Averages `uint8` `(n, 32, 32, 2)` to `(n, 8, 8, 2)`."""
    step = SIDE // COLOR_SIDE
    cells = color.reshape(len(color), COLOR_SIDE, step, COLOR_SIDE, step, 2)
    return np.round(cells.mean(axis=(2, 4))).astype(np.uint8)
