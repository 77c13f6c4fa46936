"""What is known of an image file before it is decoded, and the limits that every file is held to."""

import enum
from dataclasses import dataclass

from dlexp.datasets.images.exif import SIDEWAYS, UPRIGHT, read_orientation

MAX_PIXELS = 178_956_970  # 512 MiB in colour; Pillow, too, treats more as a decompression bomb


DEEP_BITS = 16
MAX_DEEP = 2**DEEP_BITS - 1


class UnreadableImageError(ValueError):
    """The bytes are not an image that can be decoded; the message gives the reason, without the path."""


class Decoder(enum.IntEnum):
    """How a file is decoded; the numbers are stored in manifests.

    PLAIN is TensorFlow, ALPHA is TensorFlow for a PNG with transparency. PILLOW is for files that TensorFlow refuses or
    decodes wrongly: CMYK, GIF (it decodes every frame, and loses transparency), most BMP, WebP that is animated or
    transparent, TIFF and all other formats. The header decides, so that plain files do not pay for the special cases.
    """

    PLAIN = 0
    ALPHA = 1
    PILLOW = 2


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded.

    Attributes:
        height: in pixels, of the upright image.
        width: in pixels, of the upright image.
        channels: 1 for grey, 3 for colour.
        mode: Pillow's name for the pixel format of the file, such as "RGB", "CMYK", "P", "I;16".
        orientation: EXIF orientation, from 1 to 8; 1 is upright.
        decoder: how the file is decoded.
        pages: number of images in the file, of which the first is read.
        peak: the greatest value of a file of 16 bits, at least 1; of a colour image the greatest with the same upper 8
            bits. 0 for all other files.
    """

    height: int
    width: int
    channels: int
    mode: str
    orientation: int = UPRIGHT
    decoder: Decoder = Decoder.PLAIN
    pages: int = 1
    peak: int = 0


def build_header(
    *,
    height: int,
    width: int,
    channels: int,
    mode: str,
    exif: bytes = b"",
    decoder: Decoder = Decoder.PLAIN,
    pages: int = 1,
    peak: int = 0,
) -> ImageHeader:
    """Makes a header from the stored height and width, and checks them before memory is allocated.

    Raises:
        UnreadableImageError: there is no pixel, or there are too many.
    """
    if not 0 < height * width <= MAX_PIXELS:
        raise UnreadableImageError(
            f"it has {height} x {width} pixels (height x width): from 1 to {MAX_PIXELS:,} in all can be decoded"
        )
    orientation = read_orientation(exif)
    if orientation in SIDEWAYS:
        height, width = width, height
    return ImageHeader(height, width, channels, mode, orientation, decoder, pages, peak)
