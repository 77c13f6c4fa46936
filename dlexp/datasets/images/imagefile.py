"""Inspects the bytes of an image file before they are decoded: size, mode, orientation, and whether they are damaged.

The rules for the pixels of an image, in every file format:
    1. The image is upright, as a viewer shows it: EXIF orientation is applied. That in XMP or in the text chunks of a
       PNG is not, as in most viewers.
    2. It is grey (1 channel) or colour (3), which only the type of the file decides. A palette is colour, even if it
       holds only greys.
    3. Transparent pixels are composited over white, the background of documents and web pages: black ink stays visible.
    4. Values of 16 bits lose their lower 8 (value >> 8); if they hold fewer bits, the dataset says so with `bits`, and
       they lose all but the upper 8 of these. Values of 1, 2 and 4 bits are scaled to 0 to 255. Values
       without a fixed range are refused: floating-point numbers, integers of 32 bits, Lab.
    5. Pillow converts CMYK and YCbCr to RGB. Colour profiles are ignored in every file.
    6. The image of an animation is its first frame, that of a file of several pages its first page, and that of an icon
       its largest; that of an APNG is its default image.
    7. It has at most `MAX_PIXELS` pixels.
"""

import struct
import zlib

from dlexp.datasets.images import jpeg_file, pillow_file
from dlexp.datasets.images.image_header import (
    DEEP_BITS,
    MAX_DEEP,
    Decoder,
    ImageHeader,
    UnreadableImageError,
    build_header,
)

# In the order in which people know them. What is in a file decides how it is read, not its ending.
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".ico", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".pcx", ".qoi", ".sgi"),
)

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_PALETTE, _PNG_GREY_ALPHA = 0, 3, 4
# (bits, colour type) to mode; a PNG that has another pair is damaged.
_PNG_MODES = {(1, 0): "1", (2, 0): "L", (4, 0): "L", (8, 0): "L", (16, 0): "I;16", (8, 2): "RGB", (16, 2): "RGB"}
_PNG_MODES |= {(1, 3): "P", (2, 3): "P", (4, 3): "P", (8, 3): "P"}
_PNG_MODES |= {(8, 4): "LA", (16, 4): "RGBA", (8, 6): "RGBA", (16, 6): "RGBA"}


def inspect_image(data: bytes) -> ImageHeader:
    """Reads the header of an image file and looks for damage, for PNG and JPEG without decoding.

    What it accepts can be decoded. PNG: the CRC of every chunk (https://www.w3.org/TR/png-3/, 5.3) and the IEND chunk,
    which finds all that changed after the file was written. JPEG: see `jpeg_file`. The other formats are decoded, after
    their size has been checked.

    Raises:
        UnreadableImageError: empty, not an image, damaged, too large, or of a kind that cannot be decoded.
    """
    if not data:
        raise UnreadableImageError("it has zero bytes")
    if data.startswith(jpeg_file.SIGNATURE):
        return jpeg_file.inspect_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _inspect_png(data)
    return pillow_file.inspect_with_pillow(data)


def _inspect_png(data: bytes) -> ImageHeader:
    chunks = _read_png_chunks(data)
    try:
        width, height, bits, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
        mode = _PNG_MODES[bits, colour]
    except (KeyError, struct.error) as err:
        raise UnreadableImageError("it is a PNG with a damaged IHDR chunk") from err
    if b"IDAT" not in chunks or (colour == _PNG_PALETTE and b"PLTE" not in chunks):
        raise UnreadableImageError("it is a PNG without its IDAT or PLTE chunk")
    transparent = mode in ("LA", "RGBA") or b"tRNS" in chunks
    return build_header(
        height=height,
        width=width,
        channels=1 if colour in (_PNG_GREY, _PNG_GREY_ALPHA) else 3,
        mode=mode,
        exif=bytes(chunks.get(b"eXIf", b"")),
        decoder=Decoder.ALPHA if transparent else Decoder.PLAIN,
        peak=0 if bits < DEEP_BITS else _find_png_peak(data) if mode == "I;16" and not transparent else MAX_DEEP,
    )


def _find_png_peak(data: bytes) -> int:
    with pillow_file.open_image(data) as image:
        return pillow_file.find_peak(image)


def _read_png_chunks(data: bytes) -> dict[bytes, memoryview]:
    """Returns the first chunk of each kind; checks the CRC of all chunks."""
    chunks: dict[bytes, memoryview] = {}
    view, position, kind = memoryview(data), len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise UnreadableImageError(_cut_off_png(data, chunks))
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise UnreadableImageError(_cut_off_png(data, chunks))
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise UnreadableImageError(f"PNG chunk {kind.decode('latin-1')} has a bad CRC")
        chunks.setdefault(kind, view[position + 8 : end])
        position = end + 4
    return chunks


def _cut_off_png(data: bytes, chunks: dict[bytes, memoryview]) -> str:
    if not chunks:
        return f"Truncated header: it is a PNG of only {len(data)} bytes"
    return "it is a PNG that ends before its IEND chunk"
