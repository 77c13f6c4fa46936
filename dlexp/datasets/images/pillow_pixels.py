"""Decodes image bytes with Pillow, for files that TensorFlow refuses or decodes wrongly."""

import numpy as np
from PIL import Image

from dlexp.datasets.images.image_header import DEEP_BITS
from dlexp.datasets.images.pillow_file import is_deep, is_deep_color, open_image


def decode_with_pillow(data: bytes, *, channels: int, bits: int = DEEP_BITS) -> np.ndarray:
    """Decodes the first frame, composites transparent pixels over white, and converts to grey or colour.

    Args:
        data: the bytes of the file.
        channels: 1 for grey, 3 for colour.
        bits: how many of the 16 bits of each value of a 16-bit file are used, from 8 to 16. Of a colour image the lower
            8 are lost before, so that few are left.

    Returns:
        `uint8` `(height, width, channels)`, as stored: the orientation is not applied, except that of a TIFF.

    Raises:
        UnreadableImageError: the bytes cannot be decoded.
    """
    with open_image(data) as image:
        if is_deep(image):
            grey = np.minimum(np.asarray(image).astype(np.uint16) >> bits - 8, 255).astype(np.uint8)
            return np.repeat(grey[..., np.newaxis], channels, axis=-1)
        if bits < DEEP_BITS and is_deep_color(image):
            return _brighten(image, channels=channels, factor=1 << DEEP_BITS - bits)
        opaque = _composite_over_white(image) if image.has_transparency_data else image
        pixels = np.array(opaque.convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def _brighten(image: Image.Image, *, channels: int, factor: int) -> np.ndarray:
    """Multiplies the upper 8 of 16 bits, all that Pillow loads of a colour image; ignores transparency."""
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB")).astype(np.int32)
    return np.minimum(pixels * factor, 255).astype(np.uint8).reshape(*pixels.shape[:2], channels)


def _composite_over_white(image: Image.Image) -> Image.Image:
    """Computes (value * alpha + 255 * (255 - alpha)) / 255, rounded."""
    image = image.convert("RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(image, mask=image.getchannel("A"))
    return page
