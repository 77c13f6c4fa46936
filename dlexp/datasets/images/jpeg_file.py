"""Inspects a JPEG: walks over its segments, and checks in them all that libjpeg treats as a fatal error.

Where the coded pixels themselves are wrong, libjpeg warns and continues, so such a file can be decoded. ITU T.81
(https://www.w3.org/Graphics/JPEG/itu-t81.pdf), annex B, describes the segments.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from dlexp.datasets.images.image_header import Decoder, ImageHeader, UnreadableImageError, build_header

SIGNATURE = b"\xff\xd8\xff"
_START_OF_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff]")  # FF 00 is a coded pixel value, FF FF is filling
_SOI, _EOI, _SOS, _DQT, _DHT, _DRI, _DAC, _DNL, _APP1, _APP14 = (
    0xD8,
    0xD9,
    0xDA,
    0xDB,
    0xC4,
    0xDD,
    0xCC,
    0xDC,
    0xE1,
    0xEE,
)
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # without a segment: TEM, RSTn
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}  # SOFn
_DECODABLE_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))  # DCT: sequential and progressive
_PROGRESSIVE_FRAMES = frozenset((0xC2, 0xCA))
_ARITHMETIC_FRAMES = frozenset((0xC9, 0xCA))
_OTHERS = frozenset((*range(0xE0, 0xF0), 0xFE, _DNL, _DAC, _DRI))  # APPn, COM and the rest that libjpeg knows
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_MOST_BLOCKS = 10  # in one interleaved unit of a scan (B.2.3)
_LAST_COEFFICIENT = 63
_MOST_SHIFT = 13


@dataclass(frozen=True)
class _Component:
    samples: int  # horizontal times vertical sampling factor
    table: int  # of quantization


@dataclass
class _Jpeg:
    """What the segments up to here have defined."""

    kind: int = 0
    height: int = 0
    width: int = 0
    components: dict[int, _Component] = field(default_factory=dict)
    quantization: set[int] = field(default_factory=set)
    huffman: set[int] = field(default_factory=set)  # class and number, as in the segment
    exif: bytes = b""
    scans: int = 0


def inspect_jpeg(data: bytes) -> ImageHeader:
    """Reads the header of a JPEG, and checks its segments and its end.

    Raises:
        UnreadableImageError: it is damaged, too large, or of a kind that cannot be decoded.
    """
    jpeg = _Jpeg()
    try:
        for kind, segment in _segments(data):
            _read_segment(jpeg, kind, segment)
    except (struct.error, IndexError) as err:
        raise UnreadableImageError("it is a JPEG with a damaged segment") from err
    if not jpeg.scans:
        raise UnreadableImageError(f"Truncated header: it is a JPEG that has no scan in its {len(data):,} bytes")
    last_end = data.rfind(_END)  # several pictures in one file: the last has to be whole too
    if last_end < 0 or data.find(_START_OF_SCAN, last_end) >= 0:
        raise UnreadableImageError("it is a JPEG without its end, cut off")
    mode = _MODES[len(jpeg.components)]
    return build_header(
        height=jpeg.height,
        width=jpeg.width,
        channels=1 if mode == "L" else 3,
        mode=mode,
        exif=jpeg.exif,
        decoder=Decoder.PILLOW if mode == "CMYK" else Decoder.PLAIN,
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the kind and the contents of each segment, up to the end of the first picture."""
    position = 2
    while found := _MARKER.search(data, position):
        kind, start = found[0][1], found.end() + 2
        if kind == _EOI:
            return
        position = found.end()
        if kind in _BARE:
            continue
        if kind == _SOI:
            raise UnreadableImageError("it is a JPEG that begins a second time before its end")
        end = found.end() + int.from_bytes(data[found.end() : start], "big")
        if not start <= end <= len(data):
            raise UnreadableImageError("Truncated header: it is a JPEG with a segment of wrong length")
        yield kind, data[start:end]
        position = end
    raise UnreadableImageError("it is a JPEG without its end, cut off")


def _read_segment(jpeg: _Jpeg, kind: int, segment: bytes) -> None:
    if kind in _FRAMES or kind == 0xC8:
        _read_frame(jpeg, kind, segment)
    elif kind == _SOS:
        _read_scan(jpeg, segment)
    elif kind == _DQT:
        _read_quantization(jpeg, segment)
    elif kind == _DHT:
        _read_huffman(jpeg, segment)
    elif kind == _APP1 and not jpeg.exif and segment.startswith(b"Exif\0\0"):
        jpeg.exif = segment
    elif kind == _DRI:
        _require(len(segment) == 2)
    elif kind == _DAC:
        _read_conditioning(segment)
    elif kind not in _OTHERS:
        raise UnreadableImageError(f"it is a JPEG with a segment of the unknown kind {kind:02X}")


def _require(condition: bool) -> None:
    if not condition:
        raise UnreadableImageError("it is a JPEG with a damaged segment")


def _read_frame(jpeg: _Jpeg, kind: int, segment: bytes) -> None:
    """Reads the size and the components (B.2.2)."""
    _require(not jpeg.kind)
    bits, jpeg.height, jpeg.width, count = struct.unpack_from(">BHHB", segment)
    if kind not in _DECODABLE_FRAMES or bits != 8 or count not in _MODES:
        raise UnreadableImageError(
            f"it is a JPEG of frame type SOF{kind - 0xC0} with {count} components of {bits} bits, which cannot be "
            "decoded; save it as PNG"
        )
    _require(len(segment) == 6 + 3 * count)
    jpeg.kind = kind
    for name, sampling, table in zip(segment[6::3], segment[7::3], segment[8::3], strict=True):
        across, down = sampling >> 4, sampling & 15
        _require(1 <= across <= 4 and 1 <= down <= 4)
        while name in jpeg.components:  # libjpeg gives a repeated name another number
            name += 256
        jpeg.components[name] = _Component(across * down, table)


def _read_scan(jpeg: _Jpeg, segment: bytes) -> None:
    """Checks the header of a scan (B.2.3), and that the tables that it names exist."""
    if not jpeg.kind:
        raise UnreadableImageError("it is a JPEG without a frame header")
    count = segment[0]
    _require(1 <= count <= len(jpeg.components) and len(segment) == 4 + 2 * count)
    names, tables = segment[1 : 1 + 2 * count : 2], segment[2 : 2 + 2 * count : 2]
    _require(len(set(names)) == count and set(names) <= jpeg.components.keys())
    components = [jpeg.components[name] for name in names]
    _require(count == 1 or sum(component.samples for component in components) <= _MOST_BLOCKS)
    _require({component.table for component in components} <= jpeg.quantization)
    first, last, shifts = segment[-3:]
    if jpeg.kind in _PROGRESSIVE_FRAMES:
        _check_progression(first, last, shifts, count)
    if jpeg.kind not in _ARITHMETIC_FRAMES:
        is_progressive = jpeg.kind in _PROGRESSIVE_FRAMES
        uses_dc, uses_ac = first == 0 or not is_progressive, last > 0 or not is_progressive
        refines = is_progressive and bool(shifts >> 4)
        needed = {table >> 4 for table in tables} if uses_dc and not refines else set[int]()
        needed |= {0x10 | table & 15 for table in tables} if uses_ac else set[int]()
        _require(needed <= jpeg.huffman)
    jpeg.scans += 1


def _check_progression(first: int, last: int, shifts: int, count: int) -> None:
    """Checks the spectral selection and the successive approximation (G.1.1.1)."""
    high, low = shifts >> 4, shifts & 15
    _require(last == 0 if first == 0 else first <= last <= _LAST_COEFFICIENT and count == 1)
    _require((high == 0 or low == high - 1) and low <= _MOST_SHIFT)


def _read_quantization(jpeg: _Jpeg, segment: bytes) -> None:
    """Reads which tables are defined (B.2.4.1)."""
    position = 0
    while position < len(segment):
        precision, number = segment[position] >> 4, segment[position] & 15
        position += 1 + (128 if precision else 64)
        _require(number < 4 and position <= len(segment))
        jpeg.quantization.add(number)


def _read_huffman(jpeg: _Jpeg, segment: bytes) -> None:
    """Reads which tables are defined, and checks that they are codes (B.2.4.2, C.2)."""
    position = 0
    while position + 17 <= len(segment):
        name, lengths = segment[position], segment[position + 1 : position + 17]
        total = sum(lengths)
        values = segment[position + 17 : position + 17 + total]
        position += 17 + total
        _require(name & 0xEF < 4 and total <= 256 and len(values) == total)
        code = 0
        for bits, number in enumerate(lengths, start=1):
            code += number
            _require(not number or code <= 1 << bits)
            code <<= 1
        _require(name >= 0x10 or all(value < 16 for value in values))
        jpeg.huffman.add(name)
    _require(position == len(segment))


def _read_conditioning(segment: bytes) -> None:
    """Checks the conditioning of arithmetic coding (B.2.4.3)."""
    _require(len(segment) % 2 == 0)
    for name, value in zip(segment[::2], segment[1::2], strict=True):
        _require(name < 32 and (name >= 16 or value & 15 <= value >> 4))
