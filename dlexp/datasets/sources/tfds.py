"""Sources of TensorFlow Datasets (https://www.tensorflow.org/datasets)."""

from typing import Any

import numpy as np

from dlexp.datasets.sources.library_source import SPLIT_NAMES, LibrarySplit, open_library_source
from dlexp.datasets.sources.source import Source
from dlexp.errors import DataError, missing_package, one_line
from dlexp.registry import register_source

_RANDOM_ACCESS_FORMAT = "array_record"


@register_source("tfds")
def open_tfds(spec: str, *, data_dir: str) -> Source:
    """Opens a dataset of TensorFlow Datasets by its name: `name`, `name/config` or `name/config:version`.

    The image and the class label are its `supervised_keys`, or its only features of these types. It is downloaded and
    prepared once, as ArrayRecord files, which can be read in any order. They are in the library's folder
    (`~/tensorflow_datasets`, or TFDS_DATA_DIR); `data_dir` is not used.

    Raises:
        ConfigError: the package is not installed.
        DataError: there is no such dataset, it cannot be downloaded, or it has other features.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as err:
        raise missing_package(
            "dataset 'tfds'", "tensorflow-datasets>=4.9.9", "importlib_resources>=6.0", extra="tfds"
        ) from err
    if not spec:
        raise DataError("dataset 'tfds' needs a name: use --dataset=tfds:NAME")
    builder = _prepare(tfds, spec)
    features = builder.info.features
    keys = builder.info.supervised_keys or (None, None)
    image = _find_feature(features, tfds.features.Image, keys[0], spec)
    label = _find_feature(features, tfds.features.ClassLabel, keys[1], spec)
    if np.dtype(features[image].np_dtype) not in (np.uint8, np.uint16):
        raise DataError(
            f"images of tfds:{spec} are {np.dtype(features[image].np_dtype)}: they must be uint8 or uint16; make an "
            ".npz of them, in 0..255"
        )
    splits = {name: _open_split(tfds, builder, name, image, label) for name in builder.info.splits}
    return open_library_source(builder.info.name, tuple(features[label].names), splits)


def _prepare(tfds: Any, spec: str) -> Any:
    """Returns the builder of a dataset that is on the disk; downloads the dataset if necessary."""
    try:
        builder = tfds.builder(spec)
        if builder.is_prepared():
            return builder
        builder = tfds.builder(spec, file_format=_RANDOM_ACCESS_FORMAT)
        builder.download_and_prepare()
        return builder
    except ConnectionError as err:
        raise _unreachable(spec) from err
    except Exception as err:
        if "ConnectionError" in {kind.__name__ for kind in type(err).__mro__}:  # of requests, not the builtin one
            raise _unreachable(spec) from err
        raise DataError(f"dataset tfds:{spec} cannot be loaded: {one_line(err)}") from err


def _unreachable(spec: str) -> DataError:
    return DataError(
        f"dataset tfds:{spec} is not prepared here, and cannot be downloaded without a network: prepare it once on a "
        "machine with a network, and copy its folder into ~/tensorflow_datasets, or into TFDS_DATA_DIR"
    )


def _find_feature(features: Any, kind: type, supervised: Any, spec: str) -> str:
    found = [name for name, feature in features.items() if isinstance(feature, kind)]
    if supervised in found:
        return str(supervised)
    if len(found) == 1:
        return str(found[0])
    listed = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    raise DataError(
        f"dataset tfds:{spec} has the features {listed}: exactly one of them must be of the type {kind.__name__}, or "
        "one of several must be in its supervised_keys"
    )


def _open_split(tfds: Any, builder: Any, split: str, image: str, label: str) -> LibrarySplit:
    if split not in SPLIT_NAMES:
        return LibrarySplit(0, lambda number: (b"", -1))
    try:
        examples = builder.as_data_source(split=split, decoders={image: tfds.decode.SkipDecoding()})
    except NotImplementedError as err:
        raise DataError(
            f"dataset tfds:{builder.info.name} was prepared in {str(builder.data_path)!r} in a format that cannot be "
            "read in any order: remove it there, or set another TFDS_DATA_DIR, so that it is prepared as ArrayRecord"
        ) from err

    def read(number: int) -> tuple[bytes, int]:
        example = examples[number]
        return example[image], int(example[label])

    return LibrarySplit(len(examples), read)
