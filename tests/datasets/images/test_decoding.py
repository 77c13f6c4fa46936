"""Golden pixels: the rule of what an image is, as `read`, training and caches see it."""

import io
import pathlib
import struct
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import FileSource, build_datasets
from dlexp.datasets.images.decoding import RULES_VERSION, decode_bytes, decode_image
from dlexp.datasets.images.image_header import Decoder
from dlexp.datasets.images.imagefile import inspect_image
from tests.support.image_bytes import build_late_damage, build_png, encode, encode_array, encode_turned, exif_of

GREY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)
COLOUR = np.array([[[10, 20, 30], [200, 100, 50], [0, 0, 0]], [[255, 255, 255], [1, 2, 3], [255, 0, 128]]], np.uint8)
INDICES = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)
# A value under an alpha of 0, 1, 51, 128, 254, 255 over white: (value * alpha + 255 * (255 - alpha)) / 255, rounded.
ALPHA = np.array([[0, 1, 51], [128, 254, 255]], np.uint8)
GREY_OVER_WHITE = [[255, 254, 224], [202, 200, 255]]
COLOUR_OVER_WHITE = [
    [[255, 255, 255], [255, 254, 254], [204, 204, 204]],
    [[255, 255, 255], [2, 3, 4], [255, 0, 128]],
]
# Of the palette colours, only the third is transparent.
COLOUR_WITHOUT_THIRD = [[*COLOUR[0, :2].tolist(), [255, 255, 255]], COLOUR[1].tolist()]


def palette_file(kind: str, **settings: Any) -> bytes:
    image = Image.fromarray(INDICES)
    image.putpalette(COLOUR.tobytes())
    return encode(image, kind, **settings)


def animate(kind: str, **settings: Any) -> bytes:
    later = Image.new("RGB", (3, 2), "red")
    return encode(Image.fromarray(COLOUR), kind, save_all=True, append_images=[later], duration=40, **settings)


def pack16(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


def bmp_of_16_bits() -> bytes:
    """A row of red, green and blue with 5 bits each, which makes 8 by value * 255 / 31."""
    header = struct.pack("<IiiHHIIiiII", 40, 3, 2, 1, 16, 0, 16, 0, 0, 0, 0)
    row = struct.pack("<4H", 31 << 10, 31 << 5, 31, 0)
    return b"BM" + struct.pack("<IHHI", 70, 0, 0, 54) + header + row * 2


WHITE_ROW = [255, 255, 255]
# Name to the bytes of a file and its pixels; all are upright 2 x 3.
GREY_FILES: dict[str, tuple[bytes, Any]] = {
    "grey": (encode_array(GREY), GREY),
    "grey-alpha": (encode_array(np.dstack((GREY, ALPHA))), GREY_OVER_WHITE),
    "grey-bmp": (encode_array(GREY, "BMP"), GREY),
    "1-bit": (build_png(3, 2, 1, 0, [b"\x40", b"\xa0"]), [[0, 255, 0], [255, 0, 255]]),
    "1-bit-bmp": (encode(Image.fromarray(GREY > 100), "BMP"), [[0, 0, 0], [255, 255, 255]]),
    "2-bit": (build_png(3, 2, 2, 0, [b"\x18", b"\xe4"]), [[0, 85, 170], [255, 170, 85]]),
    "4-bit": (build_png(3, 2, 4, 0, [b"\x01\x20", b"\xdf\xe0"]), [[0, 17, 34], [221, 255, 238]]),
    "2-bit-key": (build_png(3, 2, 2, 0, [b"\x18", b"\xe4"], tRNS=pack16(1)), [[0, 255, 170], [255, 170, 255]]),
    "16-bit": (
        build_png(3, 2, 16, 0, [pack16(0, 255, 256), pack16(0x7FFF, 0x80FF, 0xFFFF)]),
        [[0, 0, 1], [127, 128, 255]],
    ),
    "16-bit-key": (
        build_png(3, 2, 16, 0, [pack16(0x1200, 0x1201, 0x1202)] * 2, tRNS=pack16(0x1201)),
        [[18, 255, 18]] * 2,
    ),
    "16-bit-alpha": (
        build_png(3, 2, 16, 4, [pack16(0x32FF, 0xFFFF, 0x32FF, 0x80FF, 0x32FF, 0)] * 2),
        [[50, 152, 255]] * 2,
    ),
}
COLOUR_FILES: dict[str, tuple[bytes, Any]] = {
    "colour": (encode_array(COLOUR), COLOUR),
    "palette": (palette_file("PNG"), COLOUR),
    "palette-alpha": (palette_file("PNG", transparency=ALPHA.tobytes()), COLOUR_OVER_WHITE),
    "palette-key": (palette_file("PNG", transparency=2), COLOUR_WITHOUT_THIRD),
    "palette-of-grey": (encode(Image.fromarray(GREY).convert("P"), "PNG"), np.dstack([GREY] * 3)),
    "alpha": (encode_array(np.dstack((COLOUR, ALPHA))), COLOUR_OVER_WHITE),
    "key": (encode_array(COLOUR, transparency=(0, 0, 0)), COLOUR_WITHOUT_THIRD),
    "16-bit-colour": (
        build_png(3, 2, 16, 2, [pack16(0x0AFF, 0x1400, 0x1E80) * 3] * 2),
        [[[10, 20, 30]] * 3] * 2,
    ),
    "16-bit-colour-key": (
        build_png(3, 2, 16, 2, [pack16(1, 2, 3, 1, 2, 4, 257, 2, 3)] * 2, tRNS=pack16(1, 2, 3)),
        [[WHITE_ROW, [0, 0, 0], [1, 0, 0]]] * 2,
    ),
    "16-bit-colour-alpha": (
        build_png(3, 2, 16, 6, [pack16(0x32FF, 0, 0xFFFF, 0x80FF) * 3] * 2),
        [[[152, 127, 255]] * 3] * 2,
    ),
    "apng": (animate("PNG"), COLOUR),
    "bmp": (encode_array(COLOUR, "BMP"), COLOUR),
    "palette-bmp": (palette_file("BMP"), COLOUR),
    "16-bit-bmp": (bmp_of_16_bits(), [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]] * 2),
    "gif": (palette_file("GIF"), COLOUR),
    "gif-key": (palette_file("GIF", transparency=2), COLOUR_WITHOUT_THIRD),
    "gif-animated": (animate("GIF"), COLOUR),
    "webp": (encode_array(COLOUR, "WEBP", lossless=True), COLOUR),
    "webp-alpha": (encode_array(np.dstack((COLOUR, ALPHA)), "WEBP", lossless=True, exact=True), COLOUR_OVER_WHITE),
    "webp-animated": (animate("WEBP", lossless=True), COLOUR),
}
COLOUR_FILES |= {
    f"{kind}-turned-{number}".lower(): (
        encode_turned(Image.fromarray(COLOUR), kind, number, lossless=True),
        COLOUR,
    )
    for kind in ("PNG", "WEBP")
    for number in range(1, 9)
}


def read(data: bytes, channels: int | None = None) -> np.ndarray:
    header = inspect_image(data)
    pixels = decode_bytes(
        data, channels=channels or header.channels, orientation=header.orientation, decoder=header.decoder
    )
    assert pixels.shape == (header.height, header.width, channels or header.channels)
    return pixels


@pytest.mark.parametrize("name", GREY_FILES)
def test_golden_pixels_of_grey_files(name: str) -> None:
    data, expected = GREY_FILES[name]
    assert read(data)[..., 0].tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize("name", COLOUR_FILES)
def test_golden_pixels_of_colour_files(name: str) -> None:
    data, expected = COLOUR_FILES[name]
    assert read(data).tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize("name", GREY_FILES)
def test_a_grey_file_among_colour_ones_is_the_same_three_times(name: str) -> None:
    data, expected = GREY_FILES[name]
    assert read(data, channels=3).tolist() == np.dstack([np.asarray(expected)] * 3).tolist()


@pytest.mark.parametrize("name", ["alpha", "gif-key", "palette-alpha"])
def test_a_transparent_colour_file_can_be_decoded_to_grey(name: str) -> None:
    data, expected = COLOUR_FILES[name]
    luma = np.asarray(expected) @ (0.299, 0.587, 0.114)
    assert np.abs(read(data, channels=1)[..., 0] - luma).max() <= 1.5


# JPEG: lossy, so quadrants of one colour within a tolerance.

QUADRANTS = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]


def quadrants_jpeg(mode: str = "RGB", orientation: int = 1) -> bytes:
    image = Image.fromarray(np.array(QUADRANTS, np.uint8).repeat(16, axis=0).repeat(24, axis=1))
    return encode_turned(image.convert(mode), "JPEG", orientation, quality=95)


def as_ycck(cmyk: bytes) -> bytes:
    """The same CMYK JPEG, said to be YCCK: its Adobe segment names the transform in its last byte."""
    transform = cmyk.index(b"Adobe") + 11
    assert cmyk[transform] == 0
    return cmyk[:transform] + b"\2" + cmyk[transform + 1 :]


def without_adobe(cmyk: bytes) -> bytes:
    start = cmyk.index(b"\xff\xee")
    return cmyk[:start] + cmyk[start + 2 + int.from_bytes(cmyk[start + 2 : start + 4], "big") :]


def centres(pixels: np.ndarray) -> np.ndarray:
    return pixels[8::16, 12::24].astype(int)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_upright_in_every_orientation(mode: str, orientation: int) -> None:
    pixels = read(quadrants_jpeg(mode, orientation))
    assert pixels.shape == (32, 48, 3)
    assert np.abs(centres(pixels) - QUADRANTS).max() <= 3


@pytest.mark.parametrize("change", [bytes, as_ycck, without_adobe])
def test_cmyk_is_converted_as_pillow_does(change: Any) -> None:
    data = change(quadrants_jpeg("CMYK"))
    with Image.open(io.BytesIO(data)) as image:
        assert read(data).tolist() == np.asarray(image.convert("RGB")).tolist()


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 8))
def test_any_picture_is_turned_as_pillow_turns_it(height: int, width: int, orientation: int) -> None:
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    data = encode_array(pixels, exif=exif_of(orientation))
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    assert read(data).tolist() == np.asarray(ImageOps.exif_transpose(image)).tolist()


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 255))
def test_compositing_rounds_to_the_nearest(alpha: int) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    expected = np.rint((values.astype(float) * alpha + 255.0 * (255 - alpha)) / 255)
    data = encode_array(np.dstack((values, np.full_like(values, alpha))))
    assert (read(data)[..., 0] == expected).all()


# Through folders: read, training and caches.


def write_folder(tmp_path: pathlib.Path, files: dict[str, bytes], *, filler: str) -> pathlib.Path:
    """Official splits, where all `files` are training images of class a, and everything else is a filler image."""
    root, rng = tmp_path / "photos", np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            if (split, name) != ("train", "a"):
                pixels = rng.integers(0, 256, (2, 3, 3), dtype=np.uint8)
                Image.fromarray(pixels).convert(filler).save(root / split / name / "filler.png")
    for name, data in files.items():
        (root / "train" / "a" / f"{name}.png").write_bytes(data)
    return root


def train_pixels(root: pathlib.Path, kept: str, batch_size: int = 4) -> tuple[dict[str, np.ndarray], FileSource]:
    """The training images of one epoch by the name of their files, and the source."""
    config = ExperimentConfig.of(
        dataset=f"folder:{root}",
        split_method="official",
        batch_size=batch_size,
        epochs=1,
        cache=kept,
        store=str(root.parent / "store"),
    )
    datasets = build_datasets(config)
    keys = datasets.dataset.manifest["key"]
    found: dict[str, np.ndarray] = {}
    for step, (images, _) in enumerate(datasets.train_dataset().as_numpy_iterator()):
        names = [pathlib.Path(keys[row]).stem for row in datasets.train_indices(step)]
        found |= dict(zip(names, images, strict=True))
    assert isinstance(datasets.dataset.source, FileSource)
    return found, datasets.dataset.source


@pytest.mark.parametrize("kept", ["none", "memory", "disk"])
@pytest.mark.parametrize(("files", "filler"), [(GREY_FILES, "L"), (COLOUR_FILES, "RGB")], ids=["grey", "colour"])
def test_golden_pixels_in_training_and_in_read(tmp_path: pathlib.Path, files: Any, filler: str, kept: str) -> None:
    root = write_folder(tmp_path, {name: data for name, (data, _) in files.items()}, filler=filler)
    found, source = train_pixels(root, kept)
    for name, (_, expected) in files.items():
        expected = np.asarray(expected).reshape(found[name].shape)
        assert found[name].tolist() == expected.tolist(), name
        [row] = np.flatnonzero(source.manifest["key"] == f"train/a/{name}.png")
        assert source.read(int(row)).tolist() == expected.tolist(), name


def test_a_cache_of_other_rules_is_not_used(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path, {name: COLOUR_FILES[name][0] for name in ("colour", "alpha", "gif")}, filler="RGB")
    train_pixels(root, "disk")
    monkeypatch.setattr("dlexp.datasets.cache.RULES_VERSION", RULES_VERSION + 1)
    train_pixels(root, "disk")
    assert len(list((tmp_path / "store" / "cache").glob("*.npy"))) == 2


@pytest.mark.parametrize("name", ["palette-key", "gif-key", "png-turned-6"])
def test_a_folder_of_files_that_are_all_alike_is_decoded_by_their_rule(tmp_path: pathlib.Path, name: str) -> None:
    data, expected = COLOUR_FILES[name]
    root = write_folder(tmp_path, {}, filler="RGB")
    for file in [*root.glob("*/*/filler.png"), root / "train" / "a" / "image.png"]:
        file.write_bytes(data + file.parent.as_posix().encode())  # other bytes each, after the end of the image
    found, _ = train_pixels(root, "none", batch_size=2)
    assert [image.tolist() for image in found.values()] == [np.asarray(expected).tolist()] * 2


def test_rotated_photos_are_shrunk_while_they_are_decoded(tmp_path: pathlib.Path) -> None:
    sizes = []
    for orientation in (1, 6):
        image = decode_image(
            tf.constant(quadrants_jpeg(orientation=orientation)),
            channels=3,
            image_size=(8, 12),
            jpeg_scale=tf.constant(2),
            orientation=orientation,
        ).numpy()
        sizes.append(image.shape)
        assert np.abs(image[2::4, 3::6].astype(int) - QUADRANTS).max() <= 6
    assert sizes == [(8, 12, 3)] * 2


def count_operations(**settings: Any) -> int:
    function = tf.function(lambda contents: decode_image(contents, channels=3, **settings), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((), tf.string)).graph.as_graph_def()
    return len(graph.node) + sum(len(part.node_def) for part in graph.library.function)


def test_upright_plain_files_pay_no_operation() -> None:
    plain = count_operations()
    assert count_operations(orientation=1, decoder=Decoder.PLAIN) == plain
    assert count_operations(orientation=6) > plain


@pytest.mark.parametrize("name", ["gif", "alpha", "colour"])
def test_damaged_bytes_raise_a_value_error(name: str) -> None:
    data, _ = COLOUR_FILES[name]
    decoder = inspect_image(data).decoder
    with pytest.raises(ValueError, match=r"."):
        decode_bytes(data[:40], channels=3, decoder=decoder)


def test_bytes_that_end_with_zeros_reach_pillow_whole() -> None:
    data = palette_file("GIF", transparency=2)
    assert decode_bytes(data + bytes(7), channels=3, decoder=Decoder.PILLOW).tolist() == COLOUR_WITHOUT_THIRD


def test_reason_of_an_undecodable_file_is_free_of_names_of_operations() -> None:
    with pytest.raises(ValueError, match=r"^Invalid PNG data, size \d+$"):
        decode_bytes(build_late_damage(), channels=3)
