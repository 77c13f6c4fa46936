"""Sources of arrays: scikit-learn's digits, and `.npz` files."""

import math
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from dlexp.datasets.sources.left_out import left_out_table
from dlexp.datasets.sources.source import ArraySource, Source, as_labels
from dlexp.errors import DataError
from dlexp.machine.capacity import check_fits_memory
from dlexp.registry import register_source

_POOLS = (("x", "y"), ("images", "labels"))
_OFFICIAL = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}


@register_source("digits")
def open_digits(spec: str, *, data_dir: str) -> Source:
    """The 1,797 handwritten digits of 8x8 grey pixels that come with scikit-learn; no download.

    From the UCI "Optical Recognition of Handwritten Digits" test set; values 0..16 are scaled to 0..255.

    Raises:
        DataError: something follows the name.
    """
    if spec:
        raise DataError(f"dataset 'digits' takes nothing after its name, but {spec!r} follows: use --dataset=digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return ArraySource("digits", images, digits.target, [str(digit) for digit in range(10)])


@register_source("npz")
def open_npz(spec: str, *, data_dir: str) -> Source:
    """Arrays of an `.npz` file.

    The file holds `x` and `y` (or `images` and `labels`), or the official splits `x_train y_train` and at least one of
    `x_test y_test` and `x_validation y_validation` (also `x_val` or `x_valid`; or, as in MedMNIST, `train_images
    train_labels` and so on). Images are `uint8` `(n, height, width)`
    or `(n, height, width, 1 or 3)`, labels are whole numbers from 0 on. `class_names`, an array of strings, is
    optional. Headers are checked before any array is allocated, and nothing is ever unpickled.

    Raises:
        DataError: the file is missing or damaged, or holds other arrays.
    """
    if not spec:
        raise DataError("dataset 'npz' needs a file: use --dataset=npz:PATH")
    path = pathlib.Path(data_dir, spec)
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}: give --dataset=npz:PATH a path that exists")
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as err:
        raise DataError(f"file {str(path)!r} cannot be read as .npz: {err}; write it again with numpy.savez") from err


def _read_archive(archive: zipfile.ZipFile, path: pathlib.Path) -> Source:
    found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    pairs = _pairs(set(found), path)
    wanted = [name for pair in pairs.values() for name in pair] + ["class_names"] * ("class_names" in found)
    headers = {name: _read_header(archive, found[name], path) for name in wanted}
    for pair in pairs.values():
        _check_pair(headers, *pair, path)
    check_fits_memory(2 * sum(found[name].file_size for name in wanted), f"reading {str(path)!r}")
    arrays = {name: _read_array(archive, found[name]) for name in wanted}

    images = [arrays[name] for name, _ in pairs.values()]
    labels = np.concatenate([as_labels(arrays[name], f"array {name!r} of {str(path)!r}") for _, name in pairs.values()])
    splits = np.repeat(list(pairs), [len(array) for array in images])
    names = (
        [str(name) for name in np.ravel(arrays["class_names"])] if "class_names" in arrays else _number(labels, path)
    )
    pixels = images[0] if len(images) == 1 else np.concatenate(images)
    source = ArraySource(path.name.removesuffix(".npz"), pixels, labels, names, splits=splits.tolist())
    source.left_out = left_out_table((name, "array", "") for name in found if name not in wanted)
    return source


def _number(labels: np.ndarray, path: pathlib.Path) -> list[str]:
    """Returns the numbers of the classes as their names, for a file without class names."""
    num_classes = int(labels.max()) + 1 if labels.size else 0
    if num_classes > len(labels):  # the names of a billion classes would fill the memory
        raise DataError(
            f"labels of {str(path)!r} run from {labels.min()} to {labels.max()} for {len(labels)} images: they must be "
            "class numbers from 0 on, and each class must have an image"
        )
    return [str(number) for number in range(num_classes)]


def _pairs(found: set[str], path: pathlib.Path) -> dict[str, tuple[str, str]]:
    """Returns the names of the image and label arrays by official split; by "" if there are no splits."""
    official = {
        split: pair
        for split, names in _OFFICIAL.items()
        for name in reversed(names)
        for pair in ((f"{name}_images", f"{name}_labels"), (f"x_{name}", f"y_{name}"))
        if found.issuperset(pair)
    }
    if "train" in official and len(official) > 1:
        return official
    for names in _POOLS:
        if found.issuperset(names):
            return {"": names}
    raise DataError(
        f"file {str(path)!r} holds the arrays {', '.join(sorted(found)) or '(none)'}: it must hold x and y, images and "
        "labels, or x_train and y_train with x_test and y_test or x_validation and y_validation"
    )


def _read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: pathlib.Path) -> tuple[tuple[int, ...], Any]:
    """Reads the shape and dtype of one array, and checks them against its size in the archive."""
    what = f"array {info.filename.removesuffix('.npy')!r} of {str(path)!r}"
    with archive.open(info) as file:
        try:
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            shape, _, dtype = read[np.lib.format.read_magic(file)](file)
        except (ValueError, KeyError) as err:
            raise DataError(f"{what} has no valid header: {err}; write the file again with numpy.savez") from err
        header_bytes = file.tell()
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, which would need pickle: save it as a plain uint8 or integer array"
        )
    if math.prod(shape) * dtype.itemsize + header_bytes != info.file_size:
        raise DataError(
            f"{what} claims to be {dtype} {shape}, but has {info.file_size:,} bytes: write the file again with "
            "numpy.savez"
        )
    return shape, dtype


def _check_pair(headers: dict[str, Any], images: str, labels: str, path: pathlib.Path) -> None:
    shape, dtype = headers[images]
    if dtype != np.uint8 or not (len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))):
        hint = "; multiply by 255 if they are in 0..1, then convert" if np.issubdtype(dtype, np.floating) else ""
        raise DataError(
            f"array {images!r} of {str(path)!r} is {dtype} {shape}: images must be uint8 (n, height, width) or "
            f"(n, height, width, 1 or 3) in 0..255{hint}"
        )
    label_shape = headers[labels][0]
    if not label_shape or label_shape[0] != shape[0]:
        raise DataError(
            f"file {str(path)!r} has {shape[0]} images in {images!r} but labels {label_shape} in {labels!r}: give one "
            "label per image"
        )


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
