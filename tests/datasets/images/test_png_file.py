"""PNG whose checksums are right although its program wrote it wrongly: what the scan accepts can be decoded."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dlexp.datasets.images.decoding import decode_bytes
from dlexp.datasets.images.image_header import UnreadableImageError
from dlexp.datasets.images.imagefile import inspect_image
from tests.support.image_bytes import build_chunk, build_png, encode, encode_array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = np.random.default_rng(0).integers(0, 256, (13, 22, 3), np.uint8)
Chunks = list[tuple[bytes, bytes]]


def chunks_of(data: bytes) -> Chunks:
    chunks, position = [], len(SIGNATURE)
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunks.append((kind, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def join(chunks: Chunks) -> bytes:
    return SIGNATURE + b"".join(build_chunk(kind, contents) for kind, contents in chunks)


def with_pixels(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The PNG with other contents of its only IDAT chunk."""
    return join([(kind, change(part) if kind == b"IDAT" else part) for kind, part in chunks_of(data)])


def save(mode: str, **settings: Any) -> bytes:
    return encode(Image.fromarray(PIXELS).convert(mode), "PNG", **settings)


def save_interlaced() -> bytes:
    """Grey, 3 x 3 pixels: five of the seven passes have rows (8.2)."""
    rows = [2, 2, 3, 2, 2, 4]  # bytes: the filter and the columns
    header = struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 1)
    return join([(b"IHDR", header), (b"IDAT", zlib.compress(bytes(sum(rows)))), (b"IEND", b"")])


SAMPLES = {
    **{mode: save(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")},
    "I;16": encode_array(PIXELS[..., 0].astype(np.uint16) * 257),
    "P with tRNS": save("P", transparency=3),
    "RGB with tRNS": save("RGB", transparency=(1, 2, 3)),
    "2 bits": build_png(22, 13, 2, 0, [bytes(6)] * 13),
    "48 bits": build_png(22, 13, 16, 2, [bytes(132)] * 13),
    "interlaced": save_interlaced(),
}
BROKEN = {
    "stream": (lambda part: part[:-40] + bytes(20) + part[-20:], "cannot be unpacked"),
    "no stream": (lambda part: b"pixels" * 9, "cannot be unpacked: .* incorrect header"),
    "checksum of the pixels": (lambda part: part[:-1] + bytes([part[-1] ^ 1]), "cannot be unpacked"),
    "cut stream": (lambda part: part[:-30], "fewer pixels than its header says"),
    "cut in its checksum": (lambda part: part[:-2], "whose pixels do not end"),
    "cut twice": (lambda part: part[:-5] * 2, "it is a PNG"),
    "a row too few": (lambda part: zlib.compress(zlib.decompress(part)[: -22 * 3 - 1]), "fewer pixels"),
    "filter": (lambda part: zlib.compress(b"\x07" + zlib.decompress(part)[1:]), "a row of the unknown filter 7"),
    "empty": (lambda part: b"", "fewer pixels"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_pixels_that_cannot_be_unpacked_are_found_though_all_checksums_are_right(fault: str) -> None:
    change, message = BROKEN[fault]
    data = with_pixels(SAMPLES["RGB"], change)
    with pytest.raises(UnreadableImageError, match=message):
        inspect_image(data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda chunks: [*chunks[1:2], *chunks[:1], *chunks[2:]], "not in their order"),
        (lambda chunks: [*chunks[:1], *chunks], "not in their order"),
        (lambda chunks: [*chunks[:1], (b"ABCD", b""), *chunks[1:]], "chunk of the unknown kind 'ABCD'"),
        (lambda chunks: [*chunks[:1], (b"ab.d", b""), *chunks[1:]], r"chunk of the unknown kind 'ab\.d'"),
        (lambda chunks: [*chunks[:1], (b"PLTE", bytes(4)), *chunks[1:]], "damaged PLTE chunk"),
        (lambda chunks: [(b"IHDR", chunks[0][1][:-1] + b"\x02"), *chunks[1:]], "damaged IHDR chunk"),
        (lambda chunks: [(b"IHDR", chunks[0][1] + b"\x00"), *chunks[1:]], "damaged IHDR chunk"),
        (lambda chunks: [(b"IHDR", struct.pack(">II", 1_000_001, 1) + chunks[0][1][8:]), *chunks[1:]], "1,000,000"),
    ],
)
def test_chunks_that_no_decoder_accepts_are_refused(change: Any, message: str) -> None:
    with pytest.raises(UnreadableImageError, match=message):
        inspect_image(join(change(chunks_of(SAMPLES["RGB"]))))


@pytest.mark.parametrize("name", SAMPLES)
def test_pixels_in_several_chunks_with_more_behind_them_are_read(name: str) -> None:
    chunks = chunks_of(SAMPLES[name])
    [place] = [place for place, (kind, _) in enumerate(chunks) if kind == b"IDAT"]
    packed = chunks[place][1] + b"behind"
    parts = [(b"IDAT", packed[:5]), (b"IDAT", b""), (b"IDAT", packed[5:]), (b"tEXt", b"a\x00b"), (b"IDAT", b"more")]
    check(join([*chunks[:place], *parts, *chunks[place + 1 :]]), must_pass=True)


def check(data: bytes, *, must_pass: bool = False) -> None:
    """Whether the scan refuses what cannot be decoded."""
    try:
        header = inspect_image(data)
    except UnreadableImageError:
        assert not must_pass
        return
    if header.height * header.width > 1_000_000:
        return
    pixels = decode_bytes(data, channels=header.channels, decoder=int(header.decoder))
    assert pixels.shape[-1] == header.channels


KINDS = st.sampled_from(
    [b"tRNS", b"PLTE", b"IDAT", b"IEND", b"IHDR", b"eXIf", b"iCCP", b"acTL", b"fdAT", b"abCD", b"ABCD"]
)
CHANGES = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 9), st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=2))),
    st.tuples(st.just("raw"), st.integers(0, 9), st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=2))),
    st.tuples(st.just("cut"), st.integers(0, 9), st.integers(0, 30)),
    st.tuples(st.just("drop"), st.integers(0, 9), st.none()),
    st.tuples(st.just("twice"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("add"), st.integers(0, 9), st.tuples(KINDS, st.binary(max_size=12))),
)


def change_chunk(chunks: Chunks, what: str, place: int, value: Any) -> Chunks:
    place %= max(1, len(chunks))
    before, (kind, contents), behind = chunks[:place], chunks[place], chunks[place + 1 :]
    if what == "drop":
        return before + behind
    if what == "twice":
        return [*chunks[: value % len(chunks)], (kind, contents), *chunks[value % len(chunks) :]]
    if what == "add":
        return [*before, value, *chunks[place:]]
    if what == "cut":
        return [*before, (kind, contents[: len(contents) - value]), *behind]
    changed = bytearray(contents)
    if what == "raw":
        try:
            changed = bytearray(zlib.decompress(contents))
        except zlib.error:
            return chunks
    start = value[0] % max(1, len(changed))
    changed[start : start + len(value[1])] = value[1]
    return [*before, (kind, zlib.compress(changed) if what == "raw" else bytes(changed)), *behind]


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=150, deadline=None)
@given(changes=st.lists(CHANGES, min_size=1, max_size=3))
def test_what_the_scan_accepts_can_be_decoded_whatever_is_in_the_chunks(name: str, changes: Any) -> None:
    chunks = chunks_of(SAMPLES[name])
    for what, place, value in changes:
        chunks = change_chunk(chunks, what, place, value) or chunks
    check(join(chunks))
