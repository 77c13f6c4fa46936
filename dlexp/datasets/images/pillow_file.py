"""Inspects image files with Pillow: all formats but PNG and JPEG."""

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

from PIL import Image, UnidentifiedImageError

from dlexp.datasets.images.image_header import MAX_PIXELS, Decoder, ImageHeader, UnreadableImageError, build_header
from dlexp.errors import one_line

# Those that Pillow decodes by itself, without another program, and recognizes by their first bytes.
_FORMATS = ("BMP", "DIB", "GIF", "WEBP", "TIFF", "AVIF", "ICO", "PPM", "JPEG2000", "PCX", "QOI", "SGI")
_DEEP_RAW = ";16"  # in the raw mode of a tile, such as RGB;16L
_ALWAYS_COLOR = ("GIF", "WEBP")
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
_COLOR_MODES = ("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
_HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftyphevx", b"ftypmif1", b"ftypmsf1", b"ftypheim", b"ftypheis")
_MAX_WEBP_SIDE = 16_383  # of a frame, and so of an animation, though its header can claim more
_WEBP_ANIMATION_BIT = 0x02


@contextlib.contextmanager
def open_image(data: bytes) -> Iterator[Image.Image]:
    """Opens an image in one of the formats that dlexp reads; its pixels are not decoded yet.

    Raises:
        UnreadableImageError: it is damaged, in another format, too large, or has pixels that cannot be converted. The
            same is raised for errors of the `with` block.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_formats_of(data)) as image:  # refuses decompression bombs
            yield image
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as err:
        raise UnreadableImageError("it is not an image in a format that is read") from err
    except Image.DecompressionBombError as err:
        raise UnreadableImageError(
            f"it has more than {MAX_PIXELS:,} pixels, the most that can be decoded: {err}"
        ) from err
    except Exception as err:  # damaged bytes make the decoders of Pillow raise exceptions of any class
        raise UnreadableImageError(one_line(err) or type(err).__name__) from err


def _formats_of(data: bytes) -> tuple[str, ...]:
    if data[4:12] not in _HEIC_BRANDS or data[8:12] == b"avif" or b"avif" in data[16:64]:
        return (*_FORMATS, "JPEG", "PNG")
    try:
        import pillow_heif
    except ImportError as err:
        raise UnreadableImageError("it is HEIC, which needs another package: pip install 'dlexp[heic]'") from err
    pillow_heif.register_heif_opener()
    return ("HEIF",)


def is_deep(image: Image.Image) -> bool:
    """Returns whether an image has one value of 16 bits for each pixel."""
    return image.mode in _DEEP_MODES or (image.format == "PPM" and image.mode == "I")


def inspect_with_pillow(data: bytes) -> ImageHeader:
    """Reads the header of an image file, and decodes it to look for damage.

    Raises:
        UnreadableImageError: see `open_image`.
    """
    with open_image(data) as image:
        is_grey = image.mode in _GREY_MODES or is_deep(image)
        if not is_grey and image.mode not in _COLOR_MODES:
            raise UnreadableImageError(
                f"its pixels are of mode {image.mode}, whose values have no fixed range: save them in 8 or 16 bits"
            )
        if image.format == "WEBP" and max(image.size) > _MAX_WEBP_SIDE:  # Pillow would need minutes for such rows
            raise UnreadableImageError(
                f"it claims {image.height} x {image.width} pixels (height x width): a WebP has at most "
                f"{_MAX_WEBP_SIDE:,} pixels a side"
            )
        is_deep_colored, size = is_deep_color(image), image.size
        header = build_header(
            height=image.height,
            width=image.width,
            channels=1 if is_grey and image.format not in _ALWAYS_COLOR else 3,
            mode="I;16" if is_deep(image) else image.mode,
            exif=b""
            if image.format == "TIFF"
            else image.info.get("exif") or b"",  # a TIFF is turned while it is loaded
            decoder=Decoder.PLAIN if _is_plain(image, data) else Decoder.PILLOW,
            pages=_count_pages(image),
        )
        image.load()
        if image.size != size:
            raise UnreadableImageError("its pixels have another size than its header says")
        return replace(header, peak=find_peak(image)) if is_deep(image) or is_deep_colored else header


def is_deep_color(image: Image.Image) -> bool:
    """Returns whether an image that is not loaded yet has colours of 16 bits; Pillow loads the upper 8."""
    return not is_deep(image) and any(_DEEP_RAW in str(tile.args) for tile in getattr(image, "tile", ()))


def find_peak(image: Image.Image) -> int:
    """Returns the greatest value of an image of 16 bits, at least 1; of a colour image, the greatest possible."""
    if is_deep(image):
        _, greatest = image.convert("I").getextrema()
        return max(1, int(cast("int", greatest)))
    bands = zip(image.getbands(), image.split(), strict=True)
    upper = max(int(cast("int", band.getextrema()[1])) for name, band in bands if name.upper() != "A")
    return upper << 8 | 0xFF


def _count_pages(image: Image.Image) -> int:
    """Returns the number of images in a file, and leaves it at the first; 1 if those after it are damaged."""
    if image.format == "ICO":
        return 1
    try:
        pages = getattr(image, "n_frames", 1)
    except (EOFError, OSError, SyntaxError, ValueError, KeyError, struct.error):
        pages = 1
    image.seek(0)
    return int(pages)


def _is_plain(image: Any, data: bytes) -> bool:
    """Returns whether TensorFlow decodes a BMP or WebP correctly; other formats are never plain."""
    if image.format == "BMP":
        return image.mode in ("L", "RGB") and _is_plain_bmp(data)
    animated = data[12:16] == b"VP8X" and data[20] & _WEBP_ANIMATION_BIT
    return image.format == "WEBP" and image.mode == "RGB" and not animated


def _is_plain_bmp(data: bytes) -> bool:
    """Returns whether a BMP has a header of at least 40 bytes and rows of whole bytes, without compression or masks.

    TensorFlow needs the padding of the last row, Pillow does not; and TensorFlow takes no byte after it.
    """
    pixels, header_bytes, width, height, bits, compression = struct.unpack("<IIii2xHI", data[10:34].ljust(24, b"\0"))
    row_bytes = (width * bits + 31) // 32 * 4
    return (
        header_bytes >= 40
        and bits in (8, 24, 32)
        and compression == 0
        and pixels + abs(height) * row_bytes == len(data)
    )
