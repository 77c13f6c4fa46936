"""Sources of the Hugging Face Hub, and of folders in its layouts (https://huggingface.co/docs/datasets)."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from dlexp.datasets.sources.library_source import LibrarySplit, open_library_source
from dlexp.datasets.sources.source import Source
from dlexp.errors import DataError, missing_package, one_line
from dlexp.registry import register_source

_SAVED_FILES = ("dataset_dict.json", "state.json")  # of `save_to_disk`


@register_source("hf")
def open_huggingface(spec: str, *, data_dir: str) -> Source:
    """Opens a dataset of the Hub by its name, `owner/name` or `owner/name:config`, or a folder if the name is its path.

    The pixels are in its only column of images; if there are several, in the one named "image". The classes and their
    names are in its only column of class labels; if there are several, in the one named "label". Code in a dataset is
    never run: versions of the library that could run it are not accepted. The Hub's cache is used
    (`~/.cache/huggingface`, or HF_HOME).

    Raises:
        ConfigError: the package is not installed.
        DataError: there is no such dataset, the Hub cannot be reached, or the dataset has other columns.
    """
    try:
        import datasets
    except ImportError as err:
        raise missing_package("dataset 'hf'", "datasets>=4.0", extra="hf") from err
    if not spec:
        raise DataError("dataset 'hf' needs a name: use --dataset=hf:OWNER/NAME")
    name, _, config = spec.partition(":")
    folder = pathlib.Path(data_dir, name)
    splits = _load_folder(datasets, folder) if folder.is_dir() else _load_from_hub(datasets, name, config)
    return _open_splits(datasets, folder.resolve().name if folder.is_dir() else name.rpartition("/")[2], splits)


def _load_folder(datasets: Any, folder: pathlib.Path) -> Any:
    try:
        if any((folder / name).is_file() for name in _SAVED_FILES):
            return datasets.load_from_disk(str(folder))
        return datasets.load_dataset(str(folder))
    except Exception as err:
        raise DataError(f"folder {str(folder)!r} cannot be read as a Hugging Face dataset: {one_line(err)}") from err


def _load_from_hub(datasets: Any, name: str, config: str) -> Any:
    try:
        return datasets.load_dataset(name, config or None)
    except ConnectionError as err:
        cache = os.environ.get("HF_HOME") or "~/.cache/huggingface"
        raise DataError(
            f"dataset {name!r} is neither a folder nor in the cache {cache}, and the Hugging Face Hub cannot be "
            "reached: load it once on a machine with a network and copy the cache, or use a folder: --dataset=hf:FOLDER"
        ) from err
    except Exception as err:
        raise DataError(f"dataset {name!r} cannot be loaded from the Hugging Face Hub: {one_line(err)}") from err


def _open_splits(datasets: Any, name: str, loaded: Any) -> Source:
    splits: Mapping[str, Any] = loaded if isinstance(loaded, Mapping) else {"train": loaded}
    features = next(iter(splits.values())).features
    image = _find_column(features, datasets.Image, "image", name)
    label = _find_column(features, datasets.ClassLabel, "label", name)
    stored = {}
    for split, table in splits.items():
        # The stored bytes, not Pillow's pixels: fast to open, and decoded during training like any file.
        encoded = table.select_columns([image, label]).cast_column(image, datasets.Image(decode=False))
        stored[str(split)] = LibrarySplit(len(encoded), _ReadRow(encoded, image, label))
    return open_library_source(name, tuple(features[label].names), stored)


class _ReadRow:
    """Reads the bytes and the label of an example by its number."""

    def __init__(self, table: Any, image: str, label: str) -> None:
        self._table, self._image, self._label = table, image, label

    def __call__(self, number: int) -> tuple[bytes, int]:
        example = self._table[number]
        stored, label = example[self._image] or {}, example[self._label]
        contents = stored.get("bytes")
        if contents is None:
            contents = pathlib.Path(stored["path"]).read_bytes() if stored.get("path") else b""
        return contents, -1 if label is None else label


def _find_column(features: Mapping[str, Any], kind: type, preferred: str, name: str) -> str:
    found = [column for column, feature in features.items() if isinstance(feature, kind)]
    if len(found) == 1:
        return found[0]
    if preferred in found:
        return preferred
    columns: Sequence[str] = [f"{column} ({type(feature).__name__})" for column, feature in features.items()]
    raise DataError(
        f"dataset {name!r} has the columns {', '.join(columns)}: exactly one of them must be of the type "
        f"{kind.__name__}, or one of several must be named {preferred!r}"
    )
