"""Stand-ins for the libraries of the extras hf and tfds: no more of them than dlexp calls."""

import io
import pathlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

CLASS_NAMES = ("dark", "bright")


def encoded_image(number: int) -> bytes:
    """A PNG or JPEG of 8 or 9 x 7 pixels in colour, dark for even numbers and bright for odd ones."""
    low = number % 2 * 128
    pixels = np.random.default_rng(number).integers(low, low + 128, (8 + number % 3 // 2, 7, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG" if number % 5 == 4 else "PNG")
    return file.getvalue()


def image_rows(first: int, count: int) -> list[dict[str, Any]]:
    """Rows as Hugging Face has them, with the columns image and label."""
    return [
        {"image": {"bytes": encoded_image(number), "path": f"{number}.png"}, "label": number % 2}
        for number in range(first, first + count)
    ]


# Hugging Face.


class HuggingFaceImage:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class HuggingFaceClassLabel:
    def __init__(self, names: tuple[str, ...] = CLASS_NAMES) -> None:
        self.names = list(names)


class HuggingFaceTable:
    """`datasets.Dataset`."""

    def __init__(self, rows: list[dict[str, Any]], features: Mapping[str, Any]) -> None:
        self.rows, self.features = rows, dict(features)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        decoded = [name for name, kind in self.features.items() if getattr(kind, "decode", False)]
        assert not decoded, f"columns {decoded} would be decoded by Pillow"
        return {name: self.rows[number][name] for name in self.features}

    def select_columns(self, names: list[str]) -> "HuggingFaceTable":
        return HuggingFaceTable(self.rows, {name: self.features[name] for name in names})

    def cast_column(self, name: str, feature: Any) -> "HuggingFaceTable":
        return HuggingFaceTable(self.rows, self.features | {name: feature})


def image_features() -> dict[str, Any]:
    return {"image": HuggingFaceImage(), "label": HuggingFaceClassLabel()}


def fake_datasets(load: Callable[..., Any]) -> types.ModuleType:
    """The module `datasets`; `load` stands for `load_dataset` and `load_from_disk`."""
    module = types.ModuleType("datasets")
    names = {"Image": HuggingFaceImage, "ClassLabel": HuggingFaceClassLabel}
    vars(module).update(names, load_dataset=load, load_from_disk=load)
    return module


# TensorFlow Datasets.


class TfdsImage:
    def __init__(self, dtype: Any = np.uint8) -> None:
        self.np_dtype = dtype


class TfdsClassLabel:
    def __init__(self, names: tuple[str, ...] = CLASS_NAMES) -> None:
        self.names = list(names)


class TfdsBuilder:
    """A dataset whose splits are lists of rows with the columns of its features."""

    data_path = pathlib.Path("/prepared/bars/1.0.0")

    def __init__(
        self,
        splits: Mapping[str, list[dict[str, Any]]],
        features: Mapping[str, Any] | None = None,
        supervised_keys: tuple[str, str] | None = None,
        failure: Exception | None = None,
        is_prepared: bool = True,
    ) -> None:
        features = features or {"image": TfdsImage(), "label": TfdsClassLabel()}
        self.info = types.SimpleNamespace(
            name="bars", features=features, supervised_keys=supervised_keys, splits=dict(splits)
        )
        self._failure, self._is_prepared = failure, is_prepared

    def is_prepared(self) -> bool:
        return self._is_prepared

    def download_and_prepare(self) -> None:
        if self._failure:
            raise self._failure

    def as_data_source(self, split: str, decoders: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._failure:
            raise self._failure
        (image,) = decoders
        return [row | {image: row[image]["bytes"]} for row in self.info.splits[split]]


def fake_tfds(builder: Callable[..., TfdsBuilder]) -> types.ModuleType:
    """The module `tensorflow_datasets`."""
    module = types.ModuleType("tensorflow_datasets")
    features = types.SimpleNamespace(Image=TfdsImage, ClassLabel=TfdsClassLabel)
    decode = types.SimpleNamespace(SkipDecoding=object)
    vars(module).update(features=features, decode=decode, builder=builder)
    return module
