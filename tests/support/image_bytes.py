"""Bytes of tiny image files for tests, some of which no library writes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

ORIENTATION_TAG = 0x0112
_UNDO = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE"}
_UNDO |= {8: "ROTATE_270"}


def encode(image: Image.Image, kind: str, **settings: Any) -> bytes:
    """The file that Pillow saves."""
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def encode_array(pixels: Any, kind: str = "PNG", **settings: Any) -> bytes:
    """The file that Pillow saves of `uint8` or `uint16` pixels."""
    return encode(Image.fromarray(np.asarray(pixels)), kind, **settings)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def encode_turned(upright: Image.Image, kind: str, orientation: int, **settings: Any) -> bytes:
    """The picture as a camera stores it that was held another way, and says so in EXIF."""
    stored = upright.transpose(Image.Transpose[_UNDO[orientation]]) if orientation in _UNDO else upright
    return encode(stored, kind, exif=exif_of(orientation), **settings)


def build_png(width: int, height: int, bits: int, colour: int, rows: list[bytes], **extra: bytes) -> bytes:
    """A PNG of packed rows (https://www.w3.org/TR/png-3/, 7.2), for depths that Pillow cannot save."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = {"IHDR": header, **extra, "IDAT": zlib.compress(b"".join(b"\0" + row for row in rows)), "IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(build_chunk(kind.encode(), data) for kind, data in chunks.items())


def build_deep_tiff(pixels: np.ndarray) -> bytes:
    """An uncompressed TIFF of 16-bit colours `(height, width, 3 or 4)`, which Pillow cannot save."""
    height, width, channels = pixels.shape
    data = pixels.astype("<u2").tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 134), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 142), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, 10) + directory + bytes(4) + struct.pack("<4H", *[16] * 4) + data


def build_late_damage(side: int = 160) -> bytes:
    """A PNG whose checksums are right, but whose pixels cannot be unpacked behind those that the scan unpacks."""
    pixels = zlib.compress(bytes(2**17)[: side * (3 * side + 1) - side], 0)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(build_chunk(kind, data) for kind, data in chunks.items())


def build_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
