"""Inspects a PNG: all that libpng treats as a fatal error (https://www.w3.org/TR/png-3/).

The CRC of every chunk finds what changed after the file was written. What a program wrote wrongly is found in the order
and the contents of the chunks, and in the first `_CHECKED_BYTES` of the pixels, which are all of a small image. To
unpack all pixels of photographs would take five times as long as the rest of the scan.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from dlexp.datasets.images import pillow_file
from dlexp.datasets.images.image_header import (
    DEEP_BITS,
    Decoder,
    ImageHeader,
    UnreadableImageError,
    build_header,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOR, _PALETTE, _GREY_ALPHA, _COLOR_ALPHA = 0, 2, 3, 4, 6
_VALUES = {_GREY: 1, _COLOR: 3, _PALETTE: 1, _GREY_ALPHA: 2, _COLOR_ALPHA: 4}  # of a pixel
# (bits, colour type) to mode; a PNG that has another pair is damaged.
_MODES = {(1, 0): "1", (2, 0): "L", (4, 0): "L", (8, 0): "L", (16, 0): "I;16", (8, 2): "RGB", (16, 2): "RGB"}
_MODES |= {(1, 3): "P", (2, 3): "P", (4, 3): "P", (8, 3): "P"}
_MODES |= {(8, 4): "LA", (16, 4): "RGBA", (8, 6): "RGBA", (16, 6): "RGBA"}
# First column, first row, and the steps between columns and rows, of the seven passes of interlacing (8.2).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_ONE_PASS = ((0, 0, 1, 1),)
_LAST_FILTER = 4
_MAX_SIDE = 1_000_000  # libpng refuses more
_MAX_PALETTE_BYTES = 256 * 3
_CHECKED_BYTES = 1 << 16
_BEHIND_BYTES = 1 << 16  # behind the last pixel, where libpng unpacks to the end of the stream
_KIND = re.compile(rb"[A-Za-z]{4}")
_CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))


@dataclass
class _Png:
    """What the chunks up to here hold."""

    header: memoryview | None = None
    palette: memoryview | None = None
    exif: bytes = b""
    frames: int = 1
    has_transparency: bool = False
    pixels: list[memoryview] = field(default_factory=list)  # the contents of the IDAT chunks
    has_pixels_behind: bool = False  # whether another chunk followed them


def inspect_png(data: bytes) -> ImageHeader:
    """Reads the header of a PNG, and checks its chunks and the first of its pixels.

    Raises:
        UnreadableImageError: it is damaged, too large, or of a kind that cannot be decoded.
    """
    png = _Png()
    for kind, contents in _chunks(data):
        _read_chunk(png, kind, contents)
    width, height, bits, colour, interlaced = _read_header(png.header)
    mode = _MODES[bits, colour]
    if not png.pixels or (colour == _PALETTE and png.palette is None):
        raise UnreadableImageError("it is a PNG without its IDAT or PLTE chunk")
    transparent = mode in ("LA", "RGBA") or png.has_transparency
    header = build_header(
        height=height,
        width=width,
        channels=1 if colour in (_GREY, _GREY_ALPHA) else 3,
        mode=mode,
        exif=png.exif,
        decoder=Decoder.ALPHA if transparent else Decoder.PLAIN,
        pages=png.frames,
    )
    _check_pixels(png.pixels, _rows(width, height, bits * _VALUES[colour], interlaced=interlaced))
    return header if bits < DEEP_BITS else replace(header, peak=_find_peak(data))


def _find_peak(data: bytes) -> int:
    with pillow_file.open_image(data) as image:
        return pillow_file.find_peak(image)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yields the kind and the contents of each chunk, up to IEND; checks the CRC of each (5.3)."""
    view, position, kind = memoryview(data), len(SIGNATURE), b""
    while kind != b"IEND":
        end = position + 8
        if end + 4 <= len(data):
            length, kind = struct.unpack_from(">I4s", data, position)
            end += length
        if end + 4 > len(data):
            raise UnreadableImageError(_cut_off(data, position))
        if zlib.crc32(view[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise UnreadableImageError(f"PNG chunk {kind.decode('latin-1')} has a bad CRC")
        yield kind, view[position + 8 : end]
        position = end + 4


def _cut_off(data: bytes, position: int) -> str:
    if position == len(SIGNATURE):
        return f"Truncated header: it is a PNG of only {len(data)} bytes"
    return "it is a PNG that ends before its IEND chunk"


def _read_chunk(png: _Png, kind: bytes, contents: memoryview) -> None:
    """Notes what a chunk holds, and checks its place among the others (5.6)."""
    if (kind == b"IHDR") != (png.header is None) or (kind == b"PLTE" and png.palette is not None):
        raise UnreadableImageError("it is a PNG whose chunks are not in their order")
    if kind == b"IDAT":
        if not png.has_pixels_behind:  # libpng skips any that come later
            png.pixels.append(contents)
        return
    png.has_pixels_behind = bool(png.pixels)
    if not _KIND.fullmatch(kind) or (kind[:1].isupper() and kind not in _CRITICAL):
        raise UnreadableImageError(f"it is a PNG with a chunk of the unknown kind {kind.decode('latin-1')!r}")
    if kind == b"IHDR":
        png.header = contents
    elif kind == b"PLTE" and not png.pixels:
        png.palette = contents
        if not 0 < len(contents) <= _MAX_PALETTE_BYTES or len(contents) % 3:
            raise UnreadableImageError("it is a PNG with a damaged PLTE chunk")
    elif kind == b"tRNS":
        png.has_transparency = True
    elif kind == b"acTL" and not png.pixels and len(contents) == 8:  # of an animation (11.3.6.1)
        png.frames = max(1, int.from_bytes(contents[:4], "big"))
    elif kind == b"eXIf" and not png.exif:
        png.exif = bytes(contents)


def _read_header(header: memoryview | None) -> tuple[int, int, int, int, bool]:
    """Returns width, height, bits of a value, colour type, and whether the image is interlaced (11.2.1)."""
    if header is None or len(header) != 13:
        raise UnreadableImageError("it is a PNG with a damaged IHDR chunk")
    width, height, bits, colour, compression, filtering, interlacing = struct.unpack(">IIBBBBB", header)
    if (bits, colour) not in _MODES or compression or filtering or interlacing > 1:
        raise UnreadableImageError("it is a PNG with a damaged IHDR chunk")
    if max(width, height) > _MAX_SIDE:
        raise UnreadableImageError(
            f"it has {height} x {width} pixels (height x width): a PNG can be decoded up to {_MAX_SIDE:,} pixels a side"
        )
    return width, height, bits, colour, bool(interlacing)


def _rows(width: int, height: int, bits: int, *, interlaced: bool) -> list[tuple[int, int]]:
    """Returns the number of rows and the bytes of a row, with its filter, of each pass (7.2, 8.1)."""
    rows = []
    for column, row, columns_step, rows_step in _PASSES if interlaced else _ONE_PASS:
        columns = max(0, -(-(width - column) // columns_step))
        count = max(0, -(-(height - row) // rows_step))
        if columns and count:
            rows.append((count, 1 + (columns * bits + 7) // 8))
    return rows


def _check_pixels(parts: Sequence[memoryview], rows: Sequence[tuple[int, int]]) -> None:
    """Unpacks the first pixels (10) and checks that there are enough, and the filters of their rows (9.2)."""
    total = sum(count * row_bytes for count, row_bytes in rows)
    unpacked = _unpack(b"".join(parts), min(total, _CHECKED_BYTES), to_end=total <= _CHECKED_BYTES)
    start = 0
    for count, row_bytes in rows:
        highest = max(unpacked[start : start + count * row_bytes : row_bytes], default=0)
        if highest > _LAST_FILTER:
            raise UnreadableImageError(f"it is a PNG with a row of the unknown filter {highest}")
        start += count * row_bytes


def _unpack(packed: bytes, wanted: int, *, to_end: bool) -> bytes:
    """Returns the first `wanted` bytes; if `to_end`, they must be all, so the packed bytes must not be cut off."""
    stream = zlib.decompressobj()
    try:
        unpacked = stream.decompress(packed, wanted)
        if to_end and len(unpacked) == wanted:
            stream.decompress(stream.unconsumed_tail, _BEHIND_BYTES)
    except zlib.error as err:
        raise UnreadableImageError(f"it is a PNG whose pixels cannot be unpacked: {err}") from err
    if len(unpacked) < wanted:
        raise UnreadableImageError("it is a PNG with fewer pixels than its header says")
    if to_end and not stream.eof:
        raise UnreadableImageError("it is a PNG whose pixels do not end")
    return unpacked
