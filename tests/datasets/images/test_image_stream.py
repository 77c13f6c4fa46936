"""Images that stream by: the pixels of training, in order, past every file that cannot be read."""

import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from dlexp import ExperimentConfig, build_datasets
from dlexp.datasets.images import image_stream
from dlexp.datasets.images.image_stream import ImageStream
from dlexp.datasets.images.imagefile import inspect_image
from tests.datasets.images.test_decoding import COLOUR, COLOUR_FILES, GREY_FILES
from tests.support.image_bytes import build_late_damage, encode, encode_array, encode_turned

SOUND = encode_array(COLOUR)
UNDECODABLE = build_late_damage()


def write(folder: pathlib.Path, files: dict[str, bytes]) -> list[str]:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [str(folder / name) for name in files]


def stream(paths: Any, *, shape: tuple[int, int, int] = (2, 3, 3), batch_size: int = 4) -> tuple[Any, Any, Any]:
    """Images by name, sizes of the batches, and reasons by name."""
    images: dict[str, np.ndarray] = {}
    reasons: dict[str, str] = {}
    sizes = []

    def note(path: str, reason: str) -> None:
        reasons[os.path.basename(path)] = reason

    for names, batch in ImageStream(paths, image_shape=shape, batch_size=batch_size, on_unreadable=note):
        assert batch.shape == (len(names), *shape)
        images |= dict(zip(map(os.path.basename, names), batch.numpy(), strict=True))
        sizes.append(len(names))
    return images, sizes, reasons


@pytest.mark.parametrize(("files", "channels"), [(GREY_FILES, 1), (COLOUR_FILES, 3)], ids=["grey", "colour"])
def test_golden_pixels_of_every_kind_of_file(tmp_path: pathlib.Path, files: Any, channels: int) -> None:
    paths = write(tmp_path, {name: data for name, (data, _) in files.items()})
    images, _, reasons = stream(paths, shape=(2, 3, channels))
    assert (list(images), reasons) == (list(files), {})
    for name, (_, expected) in files.items():
        assert images[name].tolist() == np.asarray(expected).reshape(2, 3, channels).tolist(), name


def test_large_photos_of_any_orientation_have_the_pixels_of_training(tmp_path: pathlib.Path) -> None:
    photo = Image.fromarray(load_sample_image("china.jpg"))
    files = {
        "wide.jpg": encode(photo, "JPEG"),
        "cmyk.jpg": encode(photo.convert("CMYK"), "JPEG"),
        "grey.jpg": encode(photo.convert("L"), "JPEG"),
        "turned.jpg": encode_turned(photo, "JPEG", 6),
        "small.png": encode(photo.resize((50, 40)), "PNG"),
        "exact.bmp": encode(photo.resize((48, 64)), "BMP"),
        "turned.webp": encode_turned(photo, "WEBP", 8),
        "alpha.png": encode(photo.convert("RGBA"), "PNG"),
    }
    for folder in ("train/a", "train/b", "validation/a", "test/a"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        paths = write(tmp_path / "photos" / folder, files)
    config = ExperimentConfig.of(
        dataset=f"folder:{tmp_path / 'photos'}", split_method="official", image_size=(64, 48), batch_size=4
    )
    datasets = build_datasets(config)
    of_test = datasets.dataset.manifest["path"].iloc[datasets.dataset.rows("test")]
    trained = np.concatenate([images for images, _ in datasets.test.as_numpy_iterator()])
    images, _, _ = stream(paths, shape=(64, 48, 3))
    assert len(trained) == len(images) == len(files)
    for path, pixels in zip(of_test, trained, strict=True):
        assert (images[os.path.basename(path)] == pixels).all(), path


@pytest.mark.parametrize("name", ["colour", "bmp", "gif", "webp", "palette", "alpha", "16-bit-colour"])
def test_colour_becomes_luma_for_a_grey_model(tmp_path: pathlib.Path, name: str) -> None:
    data, expected = COLOUR_FILES[name]
    images, _, _ = stream(write(tmp_path, {name: data}), shape=(2, 3, 1))
    assert np.abs(images[name][..., 0] - np.asarray(expected) @ (0.299, 0.587, 0.114)).max() <= 1.5


def test_files_that_cannot_be_read_are_told_in_order_and_stop_nothing(tmp_path: pathlib.Path) -> None:
    files = {
        "1.png": SOUND,
        "2-text.png": b"no image",
        "3-cut.png": SOUND[:-20],
        "4-empty.png": b"",
        "5-undecodable.png": UNDECODABLE,
        "6.png": SOUND,
        "7-huge.png": SOUND[:16] + struct.pack(">II", 1 << 20, 1 << 20) + SOUND[24:],
    }
    paths = [*write(tmp_path, files), str(tmp_path / "8-gone.png"), str(tmp_path), *write(tmp_path, {"9.png": SOUND})]
    images, sizes, reasons = stream(paths, batch_size=3)
    assert list(images) == ["1.png", "6.png", "9.png"]
    assert list(reasons) == [*[name for name in files if "-" in name], "8-gone.png", tmp_path.name]
    assert reasons["2-text.png"] == "it is not an image in a format that is read"
    assert reasons["8-gone.png"] == "No such file or directory"
    assert reasons[tmp_path.name] == "Is a directory"
    assert all(reasons.values())
    assert sum(sizes) == 3


def test_pixel_limit_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlexp.datasets.images.image_header.MAX_PIXELS", 5)
    _, _, reasons = stream(write(tmp_path, {"large.png": SOUND}))
    assert "from 1 to 5 in all" in reasons["large.png"]


def test_pipe_is_not_waited_for(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert stream([str(tmp_path / "pipe.png")])[2] == {"pipe.png": "it is not a regular file"}


def test_name_that_is_not_valid_utf8_is_told(tmp_path: pathlib.Path) -> None:
    name = os.fsdecode(b"\xff.png")
    assert stream(write(tmp_path, {name: SOUND}))[2] == {name: "its name is not valid UTF-8"}


def test_whatever_a_library_raises_costs_only_its_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect(data: bytes) -> Any:
        if data.endswith(b"!"):
            raise IndexError
        return inspect_image(data)

    monkeypatch.setattr(image_stream, "inspect_image", inspect)
    images, _, reasons = stream(write(tmp_path, {"1.png": SOUND, "2.png": SOUND + b"!", "3.png": SOUND}))
    assert (list(images), reasons) == (["1.png", "3.png"], {"2.png": "IndexError"})


def test_error_of_the_paths_is_raised_after_what_came_before(tmp_path: pathlib.Path) -> None:
    def paths() -> Iterator[str]:
        yield from write(tmp_path, {f"{number:02}.png": SOUND for number in range(image_stream._FILES_AT_ONCE)})
        raise OSError("the disk has gone")

    batches = iter(ImageStream(paths(), image_shape=(2, 3, 3), batch_size=4, on_unreadable=print))
    seen = [next(batches) for _ in range(image_stream._FILES_AT_ONCE // 4)]
    assert sum(len(names) for names, _ in seen) == image_stream._FILES_AT_ONCE
    with pytest.raises(OSError, match="the disk has gone"):
        next(batches)


def test_order_holds_over_many_batches_of_files_large_and_small(tmp_path: pathlib.Path) -> None:
    large = encode(Image.new("RGB", (600, 400), "red"), "PNG")
    paths = write(tmp_path, {f"{number:03}.png": large if number % 7 == 0 else SOUND for number in range(100)})
    images, sizes, _ = stream(paths, batch_size=8)
    assert list(images) == [f"{number:03}.png" for number in range(100)]
    assert sizes == [8] * 12 + [4]


def test_no_path_gives_no_batch() -> None:
    assert stream([]) == ({}, [], {})
