"""What image files say before they are decoded: size, mode, which way up, and damage."""

import io
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dlexp.datasets.images.exif import read_orientation
from dlexp.datasets.images.image_header import MAX_PIXELS, Decoder, ImageHeader, UnreadableImageError
from dlexp.datasets.images.imagefile import inspect_image
from tests.support.image_bytes import build_chunk, build_png, encode, encode_array, exif_of

FORMATS = ["PNG", "JPEG", "BMP", "GIF", "WEBP"]
PALETTE = bytes(range(6))
BYTES_AFTER_PIXELS = {"GIF": 2, "BMP": 3}  # block end and trailer; padding of a row of 7 pixels
RGBA_MASKS = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def find_frame(jpeg: bytes) -> int:
    return jpeg.index(b"\xff\xc0\x00")


def palette_image(kind: str, **settings: Any) -> bytes:
    image = Image.new("P", (3, 2))
    image.putpalette(PALETTE)
    return encode(image, kind, **settings)


def bmp_with_alpha() -> bytes:
    size = struct.pack("<IiiHHIIiiII", 56, 3, 2, 1, 32, 3, 24, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 94, 0, 0, 70) + size + RGBA_MASKS + bytes(24)


@pytest.mark.parametrize(
    ("data", "mode", "channels", "decoder"),
    [
        (encode(Image.new("1", (3, 2)), "PNG"), "1", 1, Decoder.PLAIN),
        (encode(Image.new("L", (3, 2)), "PNG"), "L", 1, Decoder.PLAIN),
        (build_png(3, 2, 2, 0, [b"\0"] * 2), "L", 1, Decoder.PLAIN),
        (build_png(3, 2, 2, 0, [b"\0"] * 2, tRNS=b"\0\1"), "L", 1, Decoder.ALPHA),
        (encode(Image.new("LA", (3, 2)), "PNG"), "LA", 1, Decoder.ALPHA),
        (encode_array(np.zeros((2, 3), np.uint16)), "I;16", 1, Decoder.PLAIN),
        (build_png(3, 2, 16, 4, [bytes(12)] * 2), "RGBA", 1, Decoder.ALPHA),
        (build_png(3, 2, 16, 2, [bytes(18)] * 2), "RGB", 3, Decoder.PLAIN),
        (encode(Image.new("RGB", (3, 2)), "PNG"), "RGB", 3, Decoder.PLAIN),
        (encode(Image.new("RGBA", (3, 2)), "PNG"), "RGBA", 3, Decoder.ALPHA),
        (palette_image("PNG"), "P", 3, Decoder.PLAIN),
        (palette_image("PNG", transparency=b"\0"), "P", 3, Decoder.ALPHA),
        (encode(Image.new("L", (3, 2)), "JPEG"), "L", 1, Decoder.PLAIN),
        (encode(Image.new("RGB", (3, 2)), "JPEG"), "RGB", 3, Decoder.PLAIN),
        (encode(Image.new("RGB", (3, 2)), "JPEG", progressive=True), "RGB", 3, Decoder.PLAIN),
        (encode(Image.new("CMYK", (3, 2)), "JPEG"), "CMYK", 3, Decoder.PILLOW),
        (encode(Image.new("RGB", (3, 2)), "WEBP"), "RGB", 3, Decoder.PLAIN),
        (encode(Image.new("RGBA", (3, 2)), "WEBP"), "RGBA", 3, Decoder.PILLOW),
        (encode(Image.new("L", (3, 2)), "BMP"), "L", 1, Decoder.PLAIN),
        (encode(Image.new("1", (3, 2)), "BMP"), "1", 1, Decoder.PILLOW),
        (palette_image("BMP"), "P", 3, Decoder.PILLOW),
        (encode(Image.new("RGB", (3, 2)), "BMP"), "RGB", 3, Decoder.PLAIN),
        (bmp_with_alpha(), "RGBA", 3, Decoder.PILLOW),
        (palette_image("GIF"), "P", 3, Decoder.PILLOW),
    ],
)
def test_header_tells_size_mode_channels_and_decoder(data: bytes, mode: str, channels: int, decoder: Decoder) -> None:
    assert replace(inspect_image(data), peak=0) == ImageHeader(2, 3, channels, mode, 1, decoder)
    assert Image.open(io.BytesIO(data)).mode == mode


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_is_that_after_the_rotation_of_exif(kind: str, orientation: int) -> None:
    header = inspect_image(encode(noise(20, 30), kind, exif=exif_of(orientation)))
    assert header.orientation == orientation
    assert (header.height, header.width) == ((20, 30) if orientation < 5 else (30, 20))


def test_exif_that_follows_the_pixels_of_a_png_counts() -> None:
    png = encode(noise(2, 3), "PNG")
    end = png.rindex(b"IEND") - 4
    moved = png[:end] + build_chunk(b"eXIf", exif_of(6).tobytes().removeprefix(b"Exif\0\0")) + png[end:]
    assert inspect_image(moved).orientation == 6


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "code"), [(1, "B3x"), (3, "H2x"), (4, "I")])
def test_orientation_is_read_in_both_byte_orders(order: str, kind: int, code: str) -> None:
    start = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, 2)
    other, wanted = struct.pack(f"{order}HHII", 0x010F, 2, 1, 0), struct.pack(f"{order}HHI{code}", 0x0112, kind, 1, 7)
    assert read_orientation(b"Exif\0\0" + start + other + wanted) == 7
    assert read_orientation(start + other + wanted) == 7


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_upright(orientation: int) -> None:
    assert read_orientation(exif_of(orientation).tobytes()) == 1


@given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0", b"MM\0*", b"Exif\0\0II*\0\x08\0\0\0"]))
def test_damaged_exif_is_no_reason_to_refuse_an_image(rest: bytes, start: bytes) -> None:
    assert 1 <= read_orientation(start + rest) <= 8


# Limits: nothing of these sizes could be allocated in a test, so nothing is.


def claim_png_size(height: int, width: int) -> bytes:
    return build_png(width, height, 8, 0, [bytes(2**16)])


def claim_jpeg_size(height: int, width: int) -> bytes:
    jpeg = encode(noise(8, 8), "JPEG")
    size = find_frame(jpeg) + 5
    return jpeg[:size] + struct.pack(">HH", height, width) + jpeg[size + 4 :]


def claim_gif_size(height: int, width: int) -> bytes:
    gif = encode(noise(8, 8), "GIF")
    return gif[:6] + struct.pack("<HH", width, height) + gif[10:]


def claim_bmp_size(height: int, width: int) -> bytes:
    bmp = encode(noise(8, 8), "BMP")
    return bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]


def claim_webp_size(height: int, width: int) -> bytes:
    webp = encode(noise(8, 8), "WEBP", exif=exif_of(1))
    assert webp[12:16] == b"VP8X"
    size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return webp[:24] + size + webp[30:]


@pytest.mark.parametrize("claim", [claim_png_size, claim_jpeg_size, claim_gif_size, claim_bmp_size, claim_webp_size])
def test_a_header_that_claims_too_many_pixels_is_refused_with_both_figures(claim: Any) -> None:
    with pytest.raises(UnreadableImageError, match=f"{MAX_PIXELS:,}") as caught:
        inspect_image(claim(60000, 65000))
    assert any(found in str(caught.value) for found in ("60000 x 65000 pixels", f"{60000 * 65000} pixels"))


def test_an_animation_that_claims_a_row_of_ten_million_pixels_is_refused_at_once() -> None:
    frames = [Image.new("RGB", (22, 13), colour) for colour in ("red", "blue")]
    data = bytearray(encode(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    data[24:27] = (13_500_437).to_bytes(3, "little")  # the width of the canvas, less 1
    with pytest.raises(UnreadableImageError, match="a WebP has at most 16,383 pixels a side"):
        inspect_image(bytes(data))


def test_the_limit_itself_is_allowed() -> None:
    side = 2**13
    assert inspect_image(claim_png_size(MAX_PIXELS // side, side)).width == side
    with pytest.raises(UnreadableImageError, match="21846 x 8192 pixels"):
        inspect_image(claim_png_size(MAX_PIXELS // side + 1, side))


@pytest.mark.parametrize("claim", [claim_png_size, claim_jpeg_size])
def test_an_image_without_a_pixel_is_refused(claim: Any) -> None:
    with pytest.raises(UnreadableImageError, match="it has 0 x 5 pixels"):
        inspect_image(claim(0, 5))


@pytest.mark.parametrize("kind", FORMATS)
def test_an_image_that_is_cut_off_anywhere_is_refused(kind: str) -> None:
    data = encode(noise(9, 7), kind)
    for length in range(len(data) - BYTES_AFTER_PIXELS.get(kind, 0)):
        with pytest.raises(UnreadableImageError):
            inspect_image(data[:length])


def test_what_follows_an_image_does_no_harm() -> None:
    for kind in ("PNG", "JPEG"):
        assert inspect_image(encode(noise(9, 7), kind) + b"appended").height == 9


def test_a_thumbnail_does_not_stand_in_for_a_cut_off_photo() -> None:
    thumbnail = encode(noise(8, 8), "JPEG")
    segment = b"Exif\0\0" + thumbnail
    photo = encode(noise(64, 64), "JPEG")
    photo = photo[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + photo[2:]
    assert inspect_image(photo).height == 64
    with pytest.raises(UnreadableImageError, match="without its end"):
        inspect_image(photo[:-10])


def test_a_photo_of_several_pictures_is_whole_only_with_the_last() -> None:
    both = encode(noise(16, 16), "MPO", save_all=True, append_images=[noise(16, 16)])
    assert inspect_image(both).height == 16
    with pytest.raises(UnreadableImageError, match="without its end"):
        inspect_image(both[:-10])


def without_frame(jpeg: bytes) -> bytes:
    start = find_frame(jpeg)
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def with_byte(data: bytes, position: int, value: int) -> bytes:
    return data[:position] + bytes([value]) + data[position + 1 :]


JPEG = encode(noise(8, 8), "JPEG")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"),
        (b"some text, not pixels", "not an image"),
        (JPEG[:100], "Truncated header"),
        (without_frame(JPEG), "without a frame header"),
        (with_byte(JPEG, find_frame(JPEG) + 1, 0xC3), "SOF3 with 3 components of 8 bits"),
        (with_byte(JPEG, find_frame(JPEG) + 4, 12), "SOF0 with 3 components of 12 bits"),
        (with_byte(JPEG, find_frame(JPEG) + 9, 2), "SOF0 with 2 components"),
        (build_png(1, 1, 3, 0, [b"\0"]), "damaged IHDR"),
        (build_png(1, 1, 8, 3, [b"\0"]), "without its IDAT or PLTE"),
        (encode(noise(8, 8), "EPS"), "not an image in a format that is read"),
    ],
)
def test_damage_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImageError, match=reason):
        inspect_image(data)


@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF"]))
def test_bytes_that_are_no_image_are_refused_by_one_kind_of_error(rest: bytes, start: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        inspect_image(start + rest)
