"""A dataset: a source that is opened, named, split and checked; no pixels yet and no TensorFlow."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dlexp.config import DataConfig
from dlexp.datasets import splits
from dlexp.datasets.fingerprint import dataset_id
from dlexp.datasets.source import SPLITS, Source, check_source
from dlexp.errors import DataError
from dlexp.registry import SOURCES


@dataclass(frozen=True)
class Dataset:
    """Which examples there are, and which split each is in.

    Attributes:
        name: for tables and file names; of the alphabet `[A-Za-z0-9._-]`.
        id: 16 hex digits; equal IDs mean the same examples in the same splits.
        class_names: name of class 0, 1, ...
        manifest: one row per example, as `Source` describes it, with the final `split` of each.
        source: where pixels are read.
        image_shape: (height, width, channels) that the model sees.
    """

    name: str
    id: str
    class_names: tuple[str, ...]
    manifest: pd.DataFrame
    source: Source
    image_shape: tuple[int, int, int]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def rows(self, split: str) -> np.ndarray:
        """`int64` positions in the manifest of the examples of one split, in its order."""
        return np.flatnonzero((self.manifest["split"] == split).to_numpy())

    def count(self, split: str) -> int:
        """Number of examples in one split."""
        return len(self.rows(split))

    def counts(self) -> pd.DataFrame:
        """Number of examples by class name (rows) and split (columns)."""
        table = pd.crosstab(self.manifest["label"], self.manifest["split"])
        table = table.reindex(index=range(self.num_classes), columns=list(SPLITS), fill_value=0)
        return table.set_axis(pd.Index(self.class_names, name="class"), axis="index")


def open_dataset(data: DataConfig) -> Dataset:
    """Opens the source that `data.dataset` names, splits it and checks that it can be trained on.

    Raises:
        UnknownNameError: there is no such source.
        DataError: the source cannot be read, or does not fit the config.

    Example:
        >>> open_dataset(DataConfig(dataset="digits")).counts()
    """
    kind, _, spec = data.dataset.partition(":")
    source: Source = SOURCES.get(kind)(spec, data_dir=data.data_dir)
    check_source(source)
    manifest = source.manifest.reset_index(drop=True)
    manifest = manifest.assign(split=pd.Series(_split(manifest, data), dtype="str"))
    dataset = Dataset(
        name=_file_name(data.dataset_name or source.name),
        id=dataset_id(manifest, source.class_names),
        class_names=tuple(source.class_names),
        manifest=manifest,
        source=source,
        image_shape=_image_shape(manifest, data),
    )
    _check_splits(dataset, data)
    return dataset


def _split(manifest: pd.DataFrame, data: DataConfig) -> np.ndarray:
    if data.split_method == "official":
        return splits.official(manifest, split_seed=data.split_seed, validation_fraction=data.validation_fraction)
    return splits.stratified(
        manifest,
        split_seed=data.split_seed,
        validation_fraction=data.validation_fraction,
        test_fraction=data.test_fraction,
    )


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64] or "dataset"


def _image_shape(manifest: pd.DataFrame, data: DataConfig) -> tuple[int, int, int]:
    shapes = manifest[["height", "width", "channels"]].drop_duplicates().sort_values(["height", "width"])
    if shapes["channels"].nunique() > 1:
        raise DataError(
            f"images of {data.dataset} have {sorted(shapes['channels'])} channels: a source must give "
            "all of them the same"
        )
    if data.image_size is not None:
        return (*data.image_size, int(shapes["channels"].iloc[0]))
    height, width, channels = (int(size) for size in shapes.iloc[0])
    if len(shapes) > 1:
        raise DataError(
            f"images of {data.dataset} have {len(shapes):,} different sizes, from {height}x{width} to "
            f"{shapes['height'].iloc[-1]}x{shapes['width'].iloc[-1]} (height x width): give --image_size=HEIGHT,WIDTH"
        )
    return height, width, channels


def _check_splits(dataset: Dataset, data: DataConfig) -> None:
    counts = dataset.counts()
    for split in SPLITS:
        if counts[split].sum() == 0:
            raise DataError(
                f"split {split!r} of {data.dataset} is empty: raise its fraction or add examples. Given: "
                f"{len(dataset.manifest)} examples, split_method={data.split_method}, "
                f"validation_fraction={data.validation_fraction}, test_fraction={data.test_fraction}"
            )
    untrained = counts.index[counts["train"] == 0]
    if len(untrained):
        raise DataError(
            f"{len(untrained)} of {dataset.num_classes} classes of {data.dataset} have no training example, the first "
            f"is {untrained[0]!r}: add examples or leave the class out"
        )
    if data.batch_size > dataset.count("train"):
        raise DataError(
            f"batch_size={data.batch_size} is more than the {dataset.count('train')} training examples of "
            f"{data.dataset}: use at most {dataset.count('train')}"
        )
