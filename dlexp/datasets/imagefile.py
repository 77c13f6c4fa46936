"""What the bytes of an image file say before they are decoded: size, channels, and whether they are damaged."""

import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START_OF_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_GREY_MODES = frozenset(("1", "L", "LA", "La", "I", "I;16", "I;16B", "F"))
_BMP_MODES = frozenset(("L", "RGB", "RGBA"))


class UnreadableImageError(ValueError):
    """The bytes are not an image that a training can decode; the message says why, without the path."""


@dataclass(frozen=True)
class ImageHeader:
    """Height and width in pixels, before any rotation that EXIF asks for; 1 channel for grey, else 3; Pillow's mode."""

    height: int
    width: int
    channels: int
    mode: str


def inspect_image(data: bytes) -> ImageHeader:
    """Reads the header of a PNG, JPEG, BMP, GIF or WebP and looks for damage, mostly without decoding.

    PNG: the CRC of every chunk (https://www.w3.org/TR/png-3/, 5.3) and the IEND chunk. JPEG: the end marker after the
    last scan (ITU T.81, B.1.1). The others are decoded.

    Raises:
        UnreadableImageError: empty, not an image, damaged, or of a kind that TensorFlow cannot decode.
    """
    if not data:
        raise UnreadableImageError("it has zero bytes")
    try:
        image = Image.open(io.BytesIO(data))
        if image.format not in _CHECKS:
            raise UnreadableImageError(f"it is {image.format}, which is not one of PNG, JPEG, BMP, GIF, WebP")
        _CHECKS[image.format](image, data)
    except UnidentifiedImageError as err:
        raise UnreadableImageError("it is not an image") from err
    except (OSError, SyntaxError, Image.DecompressionBombError, struct.error) as err:
        raise UnreadableImageError(str(err)) from err
    grey = image.mode in _GREY_MODES and image.format != "GIF"  # TensorFlow decodes a GIF to colour only
    return ImageHeader(height=image.height, width=image.width, channels=1 if grey else 3, mode=image.mode)


def _check_png(image: Image.Image, data: bytes) -> None:
    position, kind = len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise UnreadableImageError("it is a PNG that ends before its IEND chunk")
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise UnreadableImageError("it is a PNG that ends before its IEND chunk")
        if zlib.crc32(memoryview(data)[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise UnreadableImageError(f"PNG chunk {kind.decode('latin-1')} has a bad CRC")
        position = end + 4


def _check_jpeg(image: Image.Image, data: bytes) -> None:
    if data.rfind(_JPEG_END) < data.rfind(_JPEG_START_OF_SCAN) or _JPEG_START_OF_SCAN not in data:
        raise UnreadableImageError("it is a JPEG without its end, cut off")


def _check_by_decoding(image: Image.Image, data: bytes) -> None:
    if image.format == "BMP" and image.mode not in _BMP_MODES:
        raise UnreadableImageError("it is a BMP with a palette, which TensorFlow cannot decode; save it as PNG")
    image.load()


_CHECKS = {
    "PNG": _check_png,
    "JPEG": _check_jpeg,
    "MPO": _check_jpeg,
    "BMP": _check_by_decoding,
    "GIF": _check_by_decoding,
    "WEBP": _check_by_decoding,
}
