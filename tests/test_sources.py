"""Sources: what they read, and how they refuse what they cannot."""

import gzip
import pathlib
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dlexp.config import DataConfig
from dlexp.datasets import ArraySource, Dataset, array_digests, build_manifest, open_dataset
from dlexp.datasets.imagefile import UnreadableImageError, inspect_image
from dlexp.errors import DataError, UnknownNameError
from dlexp.registry import SOURCES
from tests.image_folders import write_digits_folder

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)
LABELS = np.arange(20) % 2


def open_at(kind: str, path: pathlib.Path, **settings: Any) -> Dataset:
    return open_dataset(DataConfig(dataset=f"{kind}:{path}", **({"batch_size": 4} | settings)))


def write_npz(tmp_path: pathlib.Path, **arrays: Any) -> pathlib.Path:
    np.savez(tmp_path / "shapes.npz", **arrays)
    return tmp_path / "shapes.npz"


def write_idx(path: pathlib.Path, array: np.ndarray) -> None:
    header = struct.pack(f">I{array.ndim}I", 0x0800 + array.ndim, *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def idx_folder(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "tiny-mnist"
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte.gz", IMAGES)
    write_idx(folder / "train-labels-idx1-ubyte.gz", LABELS)
    write_idx(folder / "t10k-images-idx3-ubyte", IMAGES[:6])
    write_idx(folder / "t10k-labels-idx1-ubyte", LABELS[:6])
    return folder


# Arrays.


def test_digits_are_1797_grey_images_of_the_full_range() -> None:
    dataset = open_dataset(DataConfig())
    pixels = np.stack([dataset.source.read(row) for row in range(1797)])
    assert (dataset.name, dataset.image_shape, pixels.dtype) == ("digits", (8, 8, 1), np.uint8)
    assert (pixels.min(), pixels.max(), len(dataset.manifest)) == (0, 255, 1797)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.counts().sum().tolist() == [dataset.count(split) for split in ("train", "validation", "test")]


def test_digits_take_nothing_after_the_name() -> None:
    with pytest.raises(DataError, match="--dataset=digits"):
        open_dataset(DataConfig(dataset="digits:8"))


def test_an_unknown_source_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="did you mean digits"):
        open_dataset(DataConfig(dataset="digit"))


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels")])
def test_npz_of_one_pool_is_read(tmp_path: pathlib.Path, names: tuple[str, str]) -> None:
    dataset = open_at("npz", write_npz(tmp_path, **dict(zip(names, (IMAGES, LABELS), strict=True))))
    assert (dataset.name, dataset.image_shape, dataset.class_names) == ("shapes", (6, 5, 1), ("0", "1"))
    assert (dataset.source.read(7)[..., 0] == IMAGES[7]).all()


def test_npz_official_splits_and_class_names_are_kept(tmp_path: pathlib.Path) -> None:
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:4], "y_test": LABELS[:4, None]}
    arrays |= {"x_validation": IMAGES[:2], "y_validation": LABELS[:2], "class_names": np.array(["even", "odd"])}
    dataset = open_at("npz", write_npz(tmp_path, **arrays), split_method="official")
    assert [dataset.count(split) for split in ("train", "validation", "test")] == [20, 2, 4]
    assert dataset.class_names == ("even", "odd")
    assert dataset.manifest["key"].iloc[[0, 19, -1]].tolist() == ["train/00000", "train/00019", "test/00003"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES.astype(np.float32) / 255, "y": LABELS}, "float32.*must be uint8.*multiply by 255"),
        ({"x": IMAGES[0], "y": LABELS}, r"\(6, 5\)"),
        ({"x": np.zeros((20, 6, 5, 2), np.uint8), "y": LABELS}, r"\(20, 6, 5, 2\)"),
        ({"x": IMAGES, "y": LABELS[:19]}, "20 images.*19"),
        ({"x": IMAGES, "y": LABELS - 1}, "from -1 to 0"),
        ({"x": IMAGES, "y": LABELS + 1}, "from 1 to 2"),
        ({"x": IMAGES, "y": LABELS * 1.0}, "float64.*whole numbers"),
        ({"x": IMAGES, "y": np.eye(20)[:, :2].astype(int)}, r"\(20, 2\)"),
        ({"x": IMAGES, "y": LABELS * 2}, "without 1"),
        ({"x": IMAGES, "y": LABELS * 0}, "at least two"),
        ({"x": IMAGES, "y": LABELS, "class_names": np.array(["a", "b", "c"])}, "without 2"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "no examples"),
        ({"pixels": IMAGES, "y": LABELS}, "holds the arrays pixels, y"),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path: pathlib.Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_at("npz", write_npz(tmp_path, **arrays))


def test_npz_of_objects_is_never_unpickled(tmp_path: pathlib.Path) -> None:
    marker = tmp_path / "marker"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return pathlib.Path.touch, (marker,)

    path = write_npz(tmp_path, x=IMAGES, y=np.array([Payload()] * 20, dtype=object))
    with pytest.raises(DataError, match="pickle"):
        open_at("npz", path)
    assert not marker.exists()


def test_npz_whose_header_claims_too_much_is_refused_before_allocation(tmp_path: pathlib.Path) -> None:
    np.savez(tmp_path / "huge.npz", x=IMAGES, y=LABELS)
    data = (tmp_path / "huge.npz").read_bytes().replace(b"(20, 6, 5), }", b"(9**9999), }".ljust(13), 1)
    huge = data.replace(b"(9**9999), }", b"(2000000000,", 1)
    for content, message in ((data, "header"), (huge, "header|claims")):
        (tmp_path / "huge.npz").write_bytes(content)
        with pytest.raises(DataError, match=message):
            open_at("npz", tmp_path / "huge.npz")


@pytest.mark.parametrize("keep", [0, 10, 0.5, -1])
def test_a_truncated_npz_is_refused_by_name(tmp_path: pathlib.Path, keep: float) -> None:
    path = write_npz(tmp_path, x=IMAGES, y=LABELS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"shapes\.npz"):
        open_at("npz", path)


@pytest.mark.parametrize("dataset", ["npz", "npz:nowhere.npz", "idx:nowhere", "folder:nowhere", "folder"])
def test_a_missing_path_is_refused(dataset: str) -> None:
    with pytest.raises(DataError, match="--dataset="):
        open_dataset(DataConfig(dataset=dataset))


def test_relative_paths_start_at_data_dir(tmp_path: pathlib.Path) -> None:
    write_npz(tmp_path, x=IMAGES, y=LABELS)
    assert open_dataset(DataConfig(dataset="npz:shapes.npz", data_dir=str(tmp_path), batch_size=4)).name == "shapes"


# IDX files.


def test_idx_files_are_read_gzipped_or_not(idx_folder: pathlib.Path) -> None:
    dataset = open_at("idx", idx_folder, split_method="official")
    assert (dataset.name, dataset.image_shape, dataset.count("test")) == ("tiny-mnist", (6, 5, 1), 6)
    assert (dataset.source.read(25)[..., 0] == IMAGES[5]).all()


def test_idx_class_names_come_from_the_file_beside(idx_folder: pathlib.Path) -> None:
    (idx_folder / "class_names.txt").write_text("shirt\nboot\n")
    assert open_at("idx", idx_folder).class_names == ("shirt", "boot")


def test_fashion_mnist_is_read() -> None:
    path = pathlib.Path("/usr/share/datasets/fashion-mnist")
    if path.exists():
        assert open_at("idx", path, split_method="official").counts().sum().tolist() == [54000, 6000, 10000]


def _swap_magic(data: bytes) -> bytes:
    return struct.pack(">I", 0x0D03) + data[4:]


def _claim_more(data: bytes) -> bytes:
    return data[:4] + struct.pack(">I", 2**31) + data[8:]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "damage", [_swap_magic, _claim_more, lambda data: data[:-1], lambda data: data + b"\0", lambda data: b""]
)
def test_a_damaged_idx_file_is_refused_by_name(idx_folder: pathlib.Path, damage: Any, compressed: bool) -> None:
    path = idx_folder / "t10k-images-idx3-ubyte"
    data = damage(path.read_bytes())
    if compressed:
        path.unlink()
        path, data = path.with_suffix(".gz"), gzip.compress(data)
    path.write_bytes(data)
    with pytest.raises(DataError, match=path.name):
        open_at("idx", idx_folder)


def test_a_cut_gzip_is_refused_by_name(idx_folder: pathlib.Path) -> None:
    path = idx_folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
        open_at("idx", idx_folder)


def test_idx_files_of_different_lengths_are_refused(idx_folder: pathlib.Path) -> None:
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", LABELS[:5])
    with pytest.raises(DataError, match="6 images but 5 labels"):
        open_at("idx", idx_folder)


def test_a_missing_idx_file_is_named(idx_folder: pathlib.Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        open_at("idx", idx_folder)


# Folders.


def test_a_folder_of_the_digits_has_their_class_counts(tmp_path: pathlib.Path) -> None:
    folder = open_at("folder", write_digits_folder(tmp_path / "digits", 1797))
    pd.testing.assert_frame_equal(folder.counts(), open_dataset(DataConfig()).counts())
    assert (folder.name, folder.image_shape) == ("digits", (8, 8, 1))


def test_the_folder_rule(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 60)
    (root / "0" / "nested" / "deep").mkdir(parents=True)
    image = next((root / "0").glob("*.png"))
    image.rename(root / "0" / "nested" / "deep" / "UPPER.PNG")
    for ignored in ("empty", ".hidden", "texts"):
        (root / ignored).mkdir()
    for name in (".hidden/a.png", "0/.b.png", "0/Thumbs.db", "texts/readme.txt", "beside.png"):
        (root / name).write_bytes(b"not an image")
    dataset = open_at("folder", root)
    assert dataset.class_names == tuple("0123456789")
    assert len(dataset.manifest) == 60
    assert dataset.manifest.set_index("key").loc["0/nested/deep/UPPER.PNG", "label"] == 0


def test_train_and_test_folders_are_official_splits(tmp_path: pathlib.Path) -> None:
    for split, count in (("train", 100), ("val", 40), ("test", 50)):
        write_digits_folder(tmp_path / split, count)
    dataset = open_at("folder", tmp_path, split_method="official")
    assert dataset.counts().sum().tolist() == [100, 40, 50]


def test_one_colour_file_makes_all_colour(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 40)
    Image.new("RGB", (8, 8), (255, 0, 0)).save(root / "3" / "red.png")
    dataset = open_at("folder", root)
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.source.read(0).shape == (8, 8, 3)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp", ".gif", ".webp"])
def test_every_format_is_decoded_in_grey_or_colour(tmp_path: pathlib.Path, ending: str) -> None:
    dataset = open_at("folder", write_digits_folder(tmp_path, 30, ending=ending))
    key = dataset.manifest["key"].iloc[5]
    image = Image.open(tmp_path / key).convert("L" if dataset.image_shape[2] == 1 else "RGB")
    expected = np.asarray(image).reshape(dataset.image_shape).astype(int)
    assert np.abs(dataset.source.read(5).astype(int) - expected).max() <= (3 if ending in (".jpg", ".webp") else 0)


def test_different_sizes_ask_for_an_image_size(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 30)
    Image.new("L", (9, 12)).save(root / "1" / "large.png")
    with pytest.raises(DataError, match=r"2 different sizes, from 8x8 to 12x9.*--image_size"):
        open_at("folder", root)
    assert open_at("folder", root, image_size=(8, 8)).image_shape == (8, 8, 1)


def test_a_folder_of_one_class_is_refused(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path, 1)
    with pytest.raises(DataError, match=r"1 class sub-folders with images \(0\)"):
        open_at("folder", root)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 30)
    outside = tmp_path / "outside.png"
    Image.new("L", (8, 8)).save(outside)
    (root / "0" / "link.png").symlink_to(outside)
    with pytest.raises(DataError, match="link that leaves"):
        open_at("folder", root)


def test_a_link_inside_the_folder_is_an_image(tmp_path: pathlib.Path) -> None:
    root = write_digits_folder(tmp_path / "photos", 30)
    (root / "0" / "link.png").symlink_to(next((root / "1").glob("*.png")))
    assert len(open_at("folder", root).manifest) == 31


def _flip_bit(data: bytes) -> bytes:
    middle = data.index(b"IDAT") + 8
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    ("ending", "damage", "reason"),
    [
        (".png", lambda data: b"", "zero bytes"),
        (".png", lambda data: b"some text, not pixels", "not an image"),
        (".png", _flip_bit, "IDAT has a bad CRC"),
        (".png", lambda data: data[:-12], "IEND"),
        (".png", lambda data: data[:20], "Truncated"),
        (".jpg", lambda data: data[:-40], "JPEG without its end"),
        (".jpg", lambda data: data[:200], "Truncated"),
        (".bmp", lambda data: data[:-10], "truncated"),
    ],
)
def test_damaged_files_are_named_before_training(tmp_path: pathlib.Path, ending: str, damage: Any, reason: str) -> None:
    root = write_digits_folder(tmp_path, 40, ending=ending, side=32)
    for name in ("0", "1"):
        path = min((root / name).iterdir())
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"2 of 40 images.*the first is '0/0000\{ending}'.*({reason})"):
        open_at("folder", root)


def test_a_tiff_named_png_is_refused(tmp_path: pathlib.Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.tiff")
    with pytest.raises(UnreadableImageError, match="TIFF"):
        inspect_image((tmp_path / "a.tiff").read_bytes())


# Sources of plug-ins.


class BareSource:
    """The least that a source can be."""

    name = "bare"
    class_names = ("dark", "bright")

    def __init__(self) -> None:
        digests = array_digests(np.stack([self.read(row) for row in range(50)]))
        labels = [row % 2 for row in range(50)]
        self.manifest = build_manifest("bare", labels=labels, digests=digests, shapes=[(8, 8, 1)] * 50)

    def read(self, row: int) -> np.ndarray:
        low = row % 2 * 128
        return np.random.default_rng(row).integers(low, low + 128, (8, 8, 1), dtype=np.uint8)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> BareSource:
    source = BareSource()
    monkeypatch.setitem(SOURCES._builders, "bare", lambda spec, *, data_dir: source)
    return source


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("digest", "xyz", "column digest"),
        ("split", "dev", "column split"),
        ("key", "00001", "twice"),
        ("label", 2, "from 0 to 2"),
    ],
)
def test_a_plugin_source_that_breaks_the_contract_is_refused(
    bare: BareSource, column: str, value: Any, message: str
) -> None:
    bare.manifest.loc[0, column] = value
    with pytest.raises(DataError, match=message):
        open_dataset(DataConfig(dataset="bare", batch_size=4))


def test_a_manifest_without_a_column_is_refused(bare: BareSource) -> None:
    bare.manifest = bare.manifest.drop(columns="group")
    with pytest.raises(DataError, match="lacks the columns group"):
        open_dataset(DataConfig(dataset="bare", batch_size=4))


def test_a_batch_larger_than_the_training_set_is_refused(bare: BareSource) -> None:
    with pytest.raises(DataError, match=r"batch_size=64 is more than the 3[0-9] training examples"):
        open_dataset(DataConfig(dataset="bare", batch_size=64))


def test_an_empty_split_is_refused(bare: BareSource) -> None:
    bare.manifest = bare.manifest.iloc[:4]
    with pytest.raises(DataError, match="'validation' of bare is empty"):
        open_dataset(DataConfig(dataset="bare", batch_size=1))


def test_the_dataset_name_fits_a_file_name(bare: BareSource) -> None:
    assert open_dataset(DataConfig(dataset="bare", dataset_name="my cats/dogs", batch_size=4)).name == "my-cats-dogs"


def test_array_source_refuses_floats() -> None:
    with pytest.raises(DataError, match="float64"):
        ArraySource("noise", IMAGES / 255, LABELS, ("a", "b"))


def test_digests_tell_shapes_apart() -> None:
    flat = IMAGES.reshape(20, 5, 6, 1)
    assert array_digests(IMAGES[..., None])[0] != array_digests(flat)[0]


def test_digests_of_large_images_are_those_of_each_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), dtype=np.uint8)
    assert array_digests(images) == [array_digests(images[i : i + 1])[0] for i in range(3)]
