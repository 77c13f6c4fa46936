"""Inspects the bytes of an image file before they are decoded: size, mode, orientation, and whether they are damaged.

The rules for the pixels of an image, in every file format:
    1. The image is upright, as a viewer shows it: EXIF orientation is applied (JPEG, PNG, WebP).
    2. It is grey (1 channel) or colour (3), which only the type of the file decides. A palette is colour, even if it
       holds only greys.
    3. Transparent pixels are composited over white, the background of documents and web pages: black ink stays visible.
    4. Values of 16 bits lose their lower 8 (value >> 8); values of 1, 2 and 4 bits are scaled to 0 to 255.
    5. Pillow converts CMYK to RGB. Colour profiles are ignored in every file.
    6. The image of an animation is its first frame; that of an APNG is its default image.
    7. It has at most `MAX_PIXELS` pixels.
"""

import enum
import io
import struct
import zlib
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from dlexp.datasets.images.exif import SIDEWAYS, UPRIGHT, read_orientation

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")

MAX_PIXELS = 178_956_970  # 512 MiB in colour; Pillow, too, treats more as a decompression bomb
_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_START_OF_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # without a segment: stuffing, TEM, RSTn, SOI
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOFn, but not DHT, JPG, DAC
_JPEG_DECODABLE_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))  # DCT: sequential and progressive
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PNG_GREY, _PNG_PALETTE, _PNG_GREY_ALPHA = 0, 3, 4
# (bits, colour type) to mode; a PNG that has another pair is damaged.
_PNG_MODES = {(1, 0): "1", (2, 0): "L", (4, 0): "L", (8, 0): "L", (16, 0): "I;16", (8, 2): "RGB", (16, 2): "RGB"}
_PNG_MODES |= {(1, 3): "P", (2, 3): "P", (4, 3): "P", (8, 3): "P"}
_PNG_MODES |= {(8, 4): "LA", (16, 4): "RGBA", (8, 6): "RGBA", (16, 6): "RGBA"}
_WEBP_ANIMATION_BIT = 0x02


class UnreadableImageError(ValueError):
    """The bytes are not an image that can be decoded; the message gives the reason, without the path."""


class Decoder(enum.IntEnum):
    """How a file is decoded; the numbers are stored in manifests.

    PLAIN is TensorFlow, ALPHA is TensorFlow for a PNG with transparency. PILLOW is for files that TensorFlow refuses or
    decodes wrongly: CMYK, GIF (it decodes every frame, and loses transparency), most BMP, WebP that is animated or
    transparent. The header decides, so that plain files do not pay for the special cases.
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
    """

    height: int
    width: int
    channels: int
    mode: str
    orientation: int = UPRIGHT
    decoder: Decoder = Decoder.PLAIN


def inspect_image(data: bytes) -> ImageHeader:
    """Reads the header of a PNG, JPEG, BMP, GIF or WebP and looks for damage, mostly without decoding.

    PNG: the CRC of every chunk (https://www.w3.org/TR/png-3/, 5.3) and the IEND chunk. JPEG: the end marker after the
    last scan (ITU T.81, B.1.1). The other formats are decoded, after their size has been checked.

    Raises:
        UnreadableImageError: empty, not an image, damaged, too large, or of a kind that cannot be decoded.
    """
    if not data:
        raise UnreadableImageError("it has zero bytes")
    if data.startswith(_JPEG_SIGNATURE):
        return _inspect_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _inspect_png(data)
    return _inspect_with_pillow(data)


def _build_header(
    *, height: int, width: int, channels: int, mode: str, exif: bytes = b"", decoder: Decoder = Decoder.PLAIN
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
    return ImageHeader(height, width, channels, mode, orientation, decoder)


def _inspect_jpeg(data: bytes) -> ImageHeader:
    """Reads the segments up to the first scan; of the pixels it checks only that the end marker follows them."""
    position, exif, frame = 2, b"", None
    while (position := data.find(b"\xff", position)) >= 0:
        kind = data[position + 1] if position + 1 < len(data) else 0
        if kind == 0xFF or kind in _JPEG_BARE_MARKERS:
            position += 1
            continue
        start = position + 4
        end = position + 2 + int.from_bytes(data[position + 2 : start], "big")
        if not start <= end <= len(data):
            break
        if kind == _JPEG_START_OF_SCAN[1]:
            return _finish_jpeg(data, end, frame, exif)
        if kind in _JPEG_FRAMES:
            frame = _read_jpeg_frame(kind, data[start:end])
        elif kind == 0xE1 and not exif and data[start:end].startswith(b"Exif\0\0"):
            exif = data[start:end]
        position = end
    raise UnreadableImageError(f"Truncated header: it is a JPEG that has no scan in its {len(data):,} bytes")


def _read_jpeg_frame(kind: int, segment: bytes) -> tuple[int, int, str]:
    """Reads height, width and mode from a frame header (ITU T.81, B.2.2)."""
    if len(segment) < 6:
        raise UnreadableImageError("it is a JPEG with a damaged frame header")
    bits, height, width, components = struct.unpack_from(">BHHB", segment)
    if kind not in _JPEG_DECODABLE_FRAMES or bits != 8 or components not in _JPEG_MODES:
        raise UnreadableImageError(
            f"it is a JPEG of frame type SOF{kind - 0xC0} with {components} components of {bits} bits, which cannot be "
            "decoded; save it as PNG"
        )
    return height, width, _JPEG_MODES[components]


def _finish_jpeg(data: bytes, scan: int, frame: tuple[int, int, str] | None, exif: bytes) -> ImageHeader:
    if frame is None:
        raise UnreadableImageError("it is a JPEG without a frame header")
    last_end = data.rfind(_JPEG_END, scan)  # searched from the end, where an intact file has it
    if last_end < 0 or data.find(_JPEG_START_OF_SCAN, last_end) >= 0:
        raise UnreadableImageError("it is a JPEG without its end, cut off")
    height, width, mode = frame
    return _build_header(
        height=height,
        width=width,
        channels=1 if mode == "L" else 3,
        mode=mode,
        exif=exif,
        decoder=Decoder.PILLOW if mode == "CMYK" else Decoder.PLAIN,
    )


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
    return _build_header(
        height=height,
        width=width,
        channels=1 if colour in (_PNG_GREY, _PNG_GREY_ALPHA) else 3,
        mode=mode,
        exif=bytes(chunks.get(b"eXIf", b"")),
        decoder=Decoder.ALPHA if transparent else Decoder.PLAIN,
    )


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


def _inspect_with_pillow(data: bytes) -> ImageHeader:
    try:
        with Image.open(io.BytesIO(data)) as image:  # refuses decompression bombs before it allocates
            if image.format not in ("BMP", "GIF", "WEBP"):
                raise UnreadableImageError(f"it is {image.format}, which is not one of PNG, JPEG, BMP, GIF, WebP")
            header = _build_header(
                height=image.height,
                width=image.width,
                channels=1 if image.format == "BMP" and image.mode in ("1", "L") else 3,
                mode=image.mode,
                exif=image.info.get("exif", b""),
                decoder=Decoder.PLAIN if _is_plain(image, data) else Decoder.PILLOW,
            )
            image.load()
    except UnidentifiedImageError as err:
        raise UnreadableImageError("it is not an image") from err
    except Image.DecompressionBombError as err:
        raise UnreadableImageError(
            f"it has more than {MAX_PIXELS:,} pixels, the most that can be decoded: {err}"
        ) from err
    except (OSError, SyntaxError, ValueError, struct.error) as err:
        raise UnreadableImageError(str(err)) from err
    return header


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Returns whether TensorFlow decodes a BMP or WebP correctly; a GIF is never plain."""
    if image.format == "BMP":
        return image.mode in ("L", "RGB") and _is_plain_bmp(data)
    animated = data[12:16] == b"VP8X" and data[20] & _WEBP_ANIMATION_BIT
    return image.format == "WEBP" and image.mode == "RGB" and not animated


def _is_plain_bmp(data: bytes) -> bool:
    """Returns whether a BMP has a header of at least 40 bytes and rows of whole bytes, without compression or masks.

    TensorFlow needs the padding of the last row, Pillow does not.
    """
    pixels, header_bytes, width, height, bits, compression = struct.unpack("<IIii2xHI", data[10:34].ljust(24, b"\0"))
    row_bytes = (width * bits + 31) // 32 * 4
    return (
        header_bytes >= 40
        and bits in (8, 24, 32)
        and compression == 0
        and pixels + abs(height) * row_bytes <= len(data)
    )
