"""Decodes image bytes with Pillow, for files that TensorFlow refuses or decodes wrongly."""

import io
import struct

import numpy as np
from PIL import Image


def decode_with_pillow(data: bytes, *, channels: int) -> np.ndarray:
    """Decodes the first frame, composites transparent pixels over white, and converts to grey or colour.

    Args:
        data: the bytes of the file.
        channels: 1 for grey, 3 for colour.

    Returns:
        `uint8` `(height, width, channels)`, as stored: the orientation is not applied.

    Raises:
        ValueError: the bytes cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            opaque = _composite_over_white(image) if image.has_transparency_data else image
            pixels = np.array(opaque.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError, struct.error, Image.DecompressionBombError) as err:
        raise ValueError(str(err)) from err
    return pixels.reshape(*pixels.shape[:2], channels)


def _composite_over_white(image: Image.Image) -> Image.Image:
    """Computes (value * alpha + 255 * (255 - alpha)) / 255, rounded."""
    image = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page
