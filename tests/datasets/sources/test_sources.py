"""Sources: what they read, and how they refuse what they cannot."""

import gzip
import pathlib
import re
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, Dataset, array_digests, build_manifest, open_dataset
from dlexp.datasets.sources.left_out import left_out_of
from dlexp.errors import DataError, UnknownNameError
from dlexp.registry import SOURCES

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
    assert (dataset.name, dataset.image_shape, pixels.dtype.name) == ("digits", (8, 8, 1), "uint8")
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
    dataset = open_at("npz", write_npz(tmp_path, **arrays))
    assert [dataset.count(split) for split in ("train", "validation", "test")] == [20, 2, 4]
    assert dataset.class_names == ("even", "odd")
    assert dataset.manifest["key"].iloc[[0, 19, -1]].tolist() == ["train/00000", "train/00019", "test/00003"]


def test_npz_may_name_its_arrays_as_medmnist_does(tmp_path: pathlib.Path) -> None:
    arrays = {"train_images": IMAGES, "train_labels": LABELS[:, None], "val_images": IMAGES[:2]}
    arrays |= {"val_labels": LABELS[:2, None], "test_images": IMAGES[:4], "test_labels": LABELS[:4, None]}
    dataset = open_at("npz", write_npz(tmp_path, **arrays))
    assert [dataset.count(split) for split in ("train", "validation", "test")] == [20, 2, 4]


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
        ({"x": IMAGES, "y": LABELS * (2**31 - 1)}, "from 0 to 2147483647 for 20 images"),
        ({"x": IMAGES, "y": LABELS * 2**40}, "from 0 to 1099511627776: they must be class numbers"),
        ({"x": IMAGES, "y": LABELS.astype(np.uint64) * 2**63}, "from 0 to 9223372036854775808"),
        ({"x": IMAGES, "y": LABELS == 1}, "bool.*whole numbers"),
        ({"x": IMAGES, "y": np.array(["cat", "dog"] * 10)}, "<U3.*whole numbers"),
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


@pytest.mark.parametrize("shape", [(10**12, 6, 5), (21, 6, 5), (19, 6, 5)])
def test_npz_whose_header_claims_another_size_is_refused_before_allocation(
    tmp_path: pathlib.Path, shape: tuple[int, ...]
) -> None:
    path = tmp_path / "claims.npz"
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("x.npy", "w") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            file.write(IMAGES.tobytes())
        with archive.open("y.npy", "w") as file:
            np.lib.format.write_array(file, LABELS)
    with pytest.raises(DataError, match=r"'x'.*claims to be uint8"):
        open_at("npz", path)


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
    dataset = open_at("idx", idx_folder)
    assert (dataset.name, dataset.image_shape, dataset.count("test")) == ("tiny-mnist", (6, 5, 1), 6)
    assert (dataset.source.read(25)[..., 0] == IMAGES[5]).all()


def test_idx_files_may_have_a_dot_in_their_names(idx_folder: pathlib.Path) -> None:
    for path in list(idx_folder.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    dataset = open_at("idx", idx_folder)
    assert [dataset.count(split) for split in ("train", "validation", "test")] == [18, 2, 6]
    assert left_out_of(dataset.source).empty


def test_other_idx_files_are_left_out_with_their_names(idx_folder: pathlib.Path) -> None:
    write_idx(idx_folder / "val-images-idx3-ubyte.gz", IMAGES)
    write_idx(idx_folder / "train-images-idx3-ubyte", IMAGES)  # of which there is a compressed copy
    (idx_folder / "readme.txt").touch()
    table = left_out_of(open_at("idx", idx_folder).source)
    assert table[["key", "kind"]].to_numpy().tolist() == [["val-images-idx3-ubyte.gz", "array"]]


def test_idx_class_names_come_from_the_file_beside(idx_folder: pathlib.Path) -> None:
    (idx_folder / "class_names.txt").write_text("shirt\nboot\n")
    assert open_at("idx", idx_folder).class_names == ("shirt", "boot")


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


@pytest.mark.parametrize(
    ("labels", "message"), [(LABELS + 1, "run from 1 to 2, without 0"), (LABELS * 255, "run from 0 to 255, without 1")]
)
def test_idx_labels_that_leave_classes_out_are_refused(
    idx_folder: pathlib.Path, labels: np.ndarray, message: str
) -> None:
    write_idx(idx_folder / "train-labels-idx1-ubyte.gz", labels)
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", labels[:6])
    with pytest.raises(DataError, match=message):
        open_at("idx", idx_folder)


def test_idx_labels_of_two_dimensions_are_refused(idx_folder: pathlib.Path) -> None:
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", LABELS[:6, None])
    with pytest.raises(DataError, match=r"begins with 0x00000802: an IDX file of 1 dimensions .* 0x00000801"):
        open_at("idx", idx_folder)


def test_idx_files_of_different_lengths_are_refused(idx_folder: pathlib.Path) -> None:
    write_idx(idx_folder / "t10k-labels-idx1-ubyte", LABELS[:5])
    with pytest.raises(DataError, match="6 images but 5 labels"):
        open_at("idx", idx_folder)


def test_a_missing_idx_file_is_named(idx_folder: pathlib.Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        open_at("idx", idx_folder)


# Sources of plug-ins.


class BareSource:
    """The least that a source can be."""

    name = "bare"
    class_names: tuple[str, ...] = ("dark", "bright")

    def __init__(self) -> None:
        digests = array_digests(np.stack([self.read(row) for row in range(50)]))
        labels = [row % 2 for row in range(50)]
        self.manifest = build_manifest("bare", labels=labels, digests=digests, shapes=[(8, 8, 1)] * 50)

    def read(self, row: int) -> np.ndarray:
        low = row % 2 * 128
        return np.random.default_rng(row).integers(low, low + 128, (8, 8, 1), dtype=np.uint8)


@pytest.fixture
def bare() -> Iterator[BareSource]:
    source = BareSource()
    with SOURCES.override("bare", lambda spec, *, data_dir: source):
        yield source


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


@pytest.mark.parametrize("reread", [False, True])
def test_reread_reaches_the_sources_that_take_it(bare: BareSource, reread: bool) -> None:
    asked = []

    def open_remembered(spec: str, *, data_dir: str, reread: bool = False) -> BareSource:
        asked.append(reread)
        return bare

    with SOURCES.override("remembered", open_remembered):
        open_dataset(DataConfig(dataset="remembered+bare", batch_size=4), reread=reread)
    assert asked == [reread]


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


def test_dataset_names_of_other_scripts_stay_different(bare: BareSource) -> None:
    names = ["東京", "京都", "Zürich", "Zurich", "Z-rich", "a" * 65, "a" * 66]
    found = [open_dataset(DataConfig(dataset="bare", dataset_name=name, batch_size=4)).name for name in names]
    assert len(set(found)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) for name in found)


@pytest.mark.parametrize("member", ["x", "class_names"])
def test_npz_images_and_names_of_objects_are_refused(tmp_path: pathlib.Path, member: str) -> None:
    arrays = {"x": IMAGES, "y": LABELS, member: np.array([{}, {}], dtype=object)}
    with pytest.raises(DataError, match=f"'{member}' .*holds Python objects"):
        open_at("npz", write_npz(tmp_path, **arrays))


def test_array_source_refuses_floats() -> None:
    with pytest.raises(DataError, match="float64"):
        ArraySource("noise", IMAGES / 255, LABELS, ("a", "b"))


def test_digests_tell_shapes_apart() -> None:
    flat = IMAGES.reshape(20, 5, 6, 1)
    assert array_digests(IMAGES[..., None])[0] != array_digests(flat)[0]


def test_digests_of_large_images_are_those_of_each_image() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 160, 160, 3), dtype=np.uint8)
    assert array_digests(images) == [array_digests(images[i : i + 1])[0] for i in range(3)]
