"""What the bytes of an image file say before they are decoded: size, mode, which way up, and whether they are damaged.

The rule of what an image is, whatever its file looks like inside:
    1. It is upright, as a viewer shows it: EXIF orientation is applied (JPEG, PNG, WebP).
    2. It is grey (1 channel) or colour (3), by the kind of the file alone. Palettes are colour, whatever they hold.
    3. What is transparent is composited over white, the paper that documents and web pages have: black ink stays ink.
    4. 16 bits become 8 by dropping the lower ones (value >> 8), 1, 2 and 4 bits spread over 0 to 255.
    5. CMYK becomes RGB as Pillow converts it, without colour profiles, which are ignored in every file.
    6. An animation is its first frame; an APNG its default image.
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

MAX_PIXELS = 178_956_970  # half a GiB of colour; Pillow, too, takes more for a decompression bomb
_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_JPEG_START_OF_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))  # nothing follows: stuffing, TEM, RSTn, SOI
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
    """The bytes are not an image that a training can decode; the message says why, without the path."""


class Decoder(enum.IntEnum):
    """How a file is decoded; the numbers stand in manifests.

    PLAIN is TensorFlow alone, ALPHA is TensorFlow for a PNG with transparency, PILLOW is for what TensorFlow gets
    wrong or refuses: CMYK, GIF (it decodes every frame, and loses transparency), most BMP, WebP that is animated or
    transparent. The header decides, so that files that need no care pay for none.
    """

    PLAIN = 0
    ALPHA = 1
    PILLOW = 2


@dataclass(frozen=True)
class ImageHeader:
    """What is known of an image before it is decoded.

    Attributes:
        height: in pixels, of the upright image.
        width: the same.
        channels: 1 for grey, 3 for colour.
        mode: what Pillow calls the pixels of the file, such as "RGB", "CMYK", "P", "I;16".
        orientation: of EXIF, from 1 to 8; 1 is upright.
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
    last scan (ITU T.81, B.1.1). The others are decoded, once their size is known to be within the limit.

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
    """From height and width as they are stored; checks them before anything is allocated.

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
    """Segments up to the first scan; the pixels are not looked at, but that they end with the end marker."""
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
    """Height, width and mode from a frame header (ITU T.81, B.2.2)."""
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
    last_end = data.rfind(_JPEG_END, scan)  # from the back, where a sound file has it
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
    """The first chunk of each kind, after the CRC of all of them was checked."""
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
        with Image.open(io.BytesIO(data)) as image:  # refuses bombs, before it allocates
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
    """Whether TensorFlow decodes a BMP or WebP as it should; a GIF never is plain."""
    if image.format == "BMP":
        return image.mode in ("L", "RGB") and _is_plain_bmp(data)
    animated = data[12:16] == b"VP8X" and data[20] & _WEBP_ANIMATION_BIT
    return image.format == "WEBP" and image.mode == "RGB" and not animated


def _is_plain_bmp(data: bytes) -> bool:
    """Whether rows of whole bytes follow a header of 40 bytes or more, without compression or masks.

    Pillow does without the padding of the last row, TensorFlow does not.
    """
    pixels, header_bytes, width, height, bits, compression = struct.unpack("<IIii2xHI", data[10:34].ljust(24, b"\0"))
    row_bytes = (width * bits + 31) // 32 * 4
    return (
        header_bytes >= 40
        and bits in (8, 24, 32)
        and compression == 0
        and pixels + abs(height) * row_bytes <= len(data)
    )
