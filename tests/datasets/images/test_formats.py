"""Every format and mode that Pillow can write: dlexp decodes it as Pillow does, or refuses it when it scans it."""

import io
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dlexp.datasets.images.decoding import decode_bytes, decode_image
from dlexp.datasets.images.image_header import ImageHeader, UnreadableImageError
from dlexp.datasets.images.imagefile import inspect_image
from tests.support.image_bytes import encode

pillow_heif.register_heif_opener()
HEIGHT, WIDTH = 13, 22
FORMATS = (
    "PNG",
    "JPEG",
    "BMP",
    "DIB",
    "GIF",
    "WEBP",
    "TIFF",
    "AVIF",
    "HEIF",
    "ICO",
    "PPM",
    "JPEG2000",
    "PCX",
    "QOI",
    "SGI",
)
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I;16", "I;16B", "I", "F")
WITHOUT_RANGE = ("I", "F", "LAB", "HSV")
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "JPEG": [
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"quality": 30},
        {"restart_marker_blocks": 2},
    ],
    "PNG": [{"optimize": True}, {"interlace": 1}],
    "WEBP": [{"lossless": True}],
    "TIFF": [{"compression": kind} for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")],
    "GIF": [{"interlace": 0}],
}


def picture(mode: str) -> Image.Image:
    """Smooth colours with noise, and some transparency where the mode has it."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH))
    values = (rows * 9 + columns * 5 + noise).astype(np.uint16)
    if mode in ("I;16", "I;16B", "I", "F"):
        kinds = {"I;16": "<u2", "I;16B": ">u2", "I": np.int32, "F": np.float32}
        return Image.fromarray((values * 257).astype(kinds[mode]))
    rgba = np.stack([values % 256, columns * 11, 255 - values % 256, rows * 19], axis=-1).astype(np.uint8)
    colour = Image.fromarray(rgba)
    if mode == "PA":
        return colour.convert("RGB").convert("P").convert("PA")
    return colour if mode == "RGBA" else colour.convert("LA") if mode == "LA" else colour.convert("RGB").convert(mode)


def written() -> Iterator[Any]:
    for kind in FORMATS:
        for mode in MODES:
            for variant in ({}, *VARIANTS.get(kind, [])):
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        data = encode(picture(mode), kind, **variant)
                        opened = Image.open(io.BytesIO(data))
                        opened.load()
                except (OSError, ValueError, KeyError, SystemError, TypeError):
                    continue  # Pillow cannot write this mode in this format, or cannot read what it wrote
                yield pytest.param(data, id=" ".join([kind, mode, *map(str, variant.items())]))


def pixels_of_pillow(data: bytes, header: ImageHeader) -> np.ndarray:
    """What a user of Pillow gets by the rules of `imagefile`."""
    with Image.open(io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened)
        if header.mode == "I;16":
            pixels = (np.asarray(image).astype(int) >> 8).astype(np.uint8)
            return np.repeat(pixels[..., np.newaxis], header.channels, axis=-1)
        if image.has_transparency_data:
            page = Image.new("RGBA", image.size, "white")
            page.alpha_composite(image.convert("RGBA"))
            image = page
        pixels = np.asarray(image.convert("L" if header.channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], header.channels)


def decode(data: bytes, header: ImageHeader) -> np.ndarray:
    return decode_bytes(data, channels=header.channels, orientation=header.orientation, decoder=int(header.decoder))


@pytest.mark.parametrize("data", list(written()))
def test_pixels_equal_those_of_pillow(data: bytes) -> None:
    if Image.open(io.BytesIO(data)).mode in WITHOUT_RANGE and not data.startswith(b"P5"):
        with pytest.raises(UnreadableImageError, match="have no fixed range"):
            inspect_image(data)
        return
    header = inspect_image(data)
    np.testing.assert_array_equal(decode(data, header), pixels_of_pillow(data, header))
    assert (header.height, header.width) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_with_exif_is_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(picture("RGB"), kind, exif=exif)
    header = inspect_image(data)
    pixels = decode(data, header)
    np.testing.assert_array_equal(pixels, pixels_of_pillow(data, header))
    assert pixels.shape == (header.height, header.width, 3)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_jpeg_that_is_shrunk_while_decoded_equals_that_of_pillow(scale: int) -> None:
    image = picture("RGB").resize((160, 96))
    data = encode(image, "JPEG", subsampling=0)
    with Image.open(io.BytesIO(data)) as drafted:
        drafted.draft("RGB", (160 >> scale, 96 >> scale))
        expected = np.asarray(drafted)
    np.testing.assert_array_equal(decode_image(data, channels=3, jpeg_scale=scale), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "WEBP", "AVIF", "HEIF"])
def test_the_first_page_is_read_and_all_are_counted(kind: str) -> None:
    pages = [picture("RGB"), picture("RGB").rotate(180), picture("RGB").rotate(90)]
    data = encode(pages[0], kind, save_all=True, append_images=pages[1:])
    header = inspect_image(data)
    assert header.pages == 3
    np.testing.assert_array_equal(decode(data, header), pixels_of_pillow(data, header))


@pytest.mark.parametrize(("mode", "name"), [("F", "F"), ("I", "I")])
def test_values_without_a_range_are_refused_with_their_mode(mode: str, name: str) -> None:
    with pytest.raises(UnreadableImageError, match=f"of mode {name}, whose values have no fixed range: save them in 8"):
        inspect_image(encode(picture(mode), "TIFF"))


def test_heic_without_its_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(picture("RGB"), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImageError, match=r"HEIC, which needs another package: pip install 'dlexp\[heic\]'"):
        inspect_image(data)


@pytest.mark.parametrize("kind", ["EPS", "PDF", "SPIDER", "IM"])
def test_a_format_outside_of_the_list_is_refused(kind: str) -> None:
    image = picture("F") if kind == "SPIDER" else picture("RGB")
    with pytest.raises(UnreadableImageError, match="not an image in a format that is read"):
        inspect_image(encode(image, kind))


KINDS: list[tuple[str, str, dict[str, Any]]] = [
    *[("JPEG", mode, {}) for mode in ("L", "RGB", "CMYK")],
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"subsampling": 0, "restart_marker_blocks": 2}),
    *[("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("BMP", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA")],
    *[("GIF", mode, {}) for mode in ("L", "P")],
    *[("WEBP", mode, {}) for mode in ("RGB", "RGBA")],
    *[("TIFF", mode, {}) for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")],
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    *[(kind, "RGB", {}) for kind in ("AVIF", "HEIF", "ICO", "PPM", "JPEG2000", "PCX", "QOI", "SGI")],
]
SAMPLES = {f"{kind} {mode} {variant}": encode(picture(mode), kind, **variant) for kind, mode, variant in KINDS}
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "remove"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=6),
    ),
    max_size=4,
)


def change(data: bytes, changes: Any, cut: float, before: bytes, behind: bytes) -> bytes:
    changed = bytearray(data[: round(cut * len(data))])
    for what, place, new in changes:
        start = int(place * len(changed))
        changed[start : start + (0 if what == "insert" else len(new))] = b"" if what == "remove" else new
    return before + bytes(changed) + behind


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    changes=CHANGES,
    cut=st.sampled_from([1.0, 1.0, 1.0, 0.9, 0.5]),
    before=st.sampled_from([b"", b"", b"", b"\0", b"\xff"]),
    behind=st.binary(max_size=5),
)
@example(changes=[], cut=1.0, before=b"", behind=b"\0\0")
def test_what_the_scan_accepts_can_be_decoded(
    name: str, changes: Any, cut: float, before: bytes, behind: bytes
) -> None:
    data = change(SAMPLES[name], changes, cut, before, behind)
    try:
        header = inspect_image(data)
    except UnreadableImageError:
        return
    assert decode(data, header).shape == (header.height, header.width, header.channels)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_sizes_that_contradict_each_other_are_refused(kind: str) -> None:
    data = SAMPLES[f"{kind} RGB {{}}"]
    for place in range(len(data)):
        for value in (0xB7, data[place] ^ 0x40):
            changed = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                header = inspect_image(changed)
            except UnreadableImageError:
                continue
            if header.height * header.width < 1_000_000:
                assert decode(changed, header).shape == (header.height, header.width, header.channels)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("behind", [b"\0\0", b"ICC profile" * 40], ids=["padding", "profile"])
def test_bytes_behind_an_image_change_no_pixel(name: str, behind: bytes) -> None:
    data = SAMPLES[name]
    header = inspect_image(data + behind)
    np.testing.assert_array_equal(decode(data + behind, header), decode(data, inspect_image(data)))
