"""A dataset: a source that is opened, named, split and checked, without reading pixels and without TensorFlow."""

import hashlib
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow

from dlexp.config.sections import DataConfig
from dlexp.datasets import splits
from dlexp.datasets.sources.combined import damage_of, open_sources
from dlexp.datasets.sources.deep_values import ALL_BITS, AUTO
from dlexp.datasets.sources.left_out import KINDS, left_out_of
from dlexp.datasets.sources.source import SPLITS, Source
from dlexp.errors import DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """The examples of a dataset, and the split of each.

    Attributes:
        name: for tables and file names; only characters of `[A-Za-z0-9._-]`.
        id: 16 hex digits; equal IDs mean the same examples in the same splits.
        class_names: name of class 0, 1, ...
        manifest: one row per example, as `Source` describes it, with the final `split` of each.
        source: reads the pixels.
        image_shape: (height, width, channels) that the model sees.
        split_method: how the examples were split: one of `SPLIT_METHODS`, but never auto.
        bits: how many bits the values of 16-bit files use.
    """

    name: str
    id: str
    class_names: tuple[str, ...]
    manifest: pd.DataFrame
    source: Source
    image_shape: tuple[int, int, int]
    split_method: str = "stratified"
    bits: int = 16

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def rows(self, split: str) -> np.ndarray:
        """Returns where in the manifest the examples of one split are: `int64` positions, in ascending order."""
        return np.flatnonzero((self.manifest["split"] == split).to_numpy())

    def count(self, split: str) -> int:
        """Returns the number of examples in one split."""
        return len(self.rows(split))

    def counts(self) -> pd.DataFrame:
        """Counts the examples by class name (rows) and split (columns)."""
        table = pd.crosstab(self.manifest["label"], self.manifest["split"])
        table = table.reindex(index=range(self.num_classes), columns=list(SPLITS), fill_value=0)
        return table.set_axis(pd.Index(self.class_names, name="class"), axis="index")


def open_dataset(data: DataConfig, *, trainable: bool = True, reread: bool = False) -> Dataset:
    """Opens the sources that `data.dataset` names, splits them and checks that they can be trained on.

    Args:
        data: what to open, and how.
        trainable: refuse a dataset that no model can be trained on: with an empty split, or with images of different
            sizes and no `image_size`. If False, such a dataset is opened too, with the smallest size of its images.
        reread: read every byte, also of files whose facts are cached from an earlier run.

    Raises:
        UnknownNameError: there is no such source.
        DataError: the source cannot be read, or does not fit the config.

    Example:
        >>> open_dataset(DataConfig(dataset="digits")).counts()
    """
    source = open_sources(data, reread=reread)
    _check_damage(source, data)
    if trainable:
        _check_left_out(source, data)
    manifest = _with_groups(source.manifest.reset_index(drop=True), data)
    split_method = _choose_split_method(manifest, data)
    manifest = manifest.assign(split=pd.Series(_split(manifest, split_method, data), dtype="str"))
    dataset = Dataset(
        name=file_name(data.dataset_name or source.name),
        id=dataset_id(manifest, source.class_names),
        class_names=tuple(source.class_names),
        manifest=manifest,
        source=source,
        image_shape=_image_shape(manifest, data, only_one=trainable),
        split_method=split_method,
        bits=_bits_of(manifest, data),
    )
    if trainable:
        _check_splits(dataset, data)
    pyarrow.default_memory_pool().release_unused()  # tables that were dropped on the way: a third of the memory
    if not dataset.id.startswith(data.dataset_id):
        raise DataError(
            f"{data.dataset} has the ID {dataset.id}, but dataset_id={data.dataset_id} was given: its images, labels, "
            "class names or splits are not the same; list the differences with dlexp data verify RUN"
        )
    return dataset


def _check_damage(source: Source, data: DataConfig) -> None:
    damaged = damage_of(source)
    if damaged.empty:
        return
    found = (
        f"{len(damaged)} of {len(damaged) + len(source.manifest)} images of {data.dataset} cannot be read, the first "
        f"is {damaged['key'].iloc[0]!r}: {damaged['reason'].iloc[0]}"
    )
    if data.on_bad_image == "fail":
        them = "it" if len(damaged) == 1 else "them"
        raise DataError(
            f"{found}; repair or remove {them} (dlexp data check lists all), or skip {them} with --on_bad_image=skip"
        )
    _log.warning("%s; on_bad_image=skip leaves them out", found)


def _check_left_out(source: Source, data: DataConfig) -> None:
    """Refuses to train without a class or a split that a person has made a folder for."""
    left_out = left_out_of(source)
    for kind, what in (("imageless_class", "has no readable image"), ("class_link", "is a link to a folder")):
        rows = left_out[left_out["kind"] == kind]
        if rows.empty:
            continue
        key, detail = rows["key"].iloc[0], rows["detail"].iloc[0]
        files = f", only {detail}" if detail else ""
        more = f" ({len(rows):,} folders have this fault)" if len(rows) > 1 else ""
        named = "class folder" if kind == "imageless_class" else "class or split folder"
        raise DataError(f"{named} {key!r} of {data.dataset} {what}{files}{more}: {KINDS[kind].advice}")


def _with_groups(manifest: pd.DataFrame, data: DataConfig) -> pd.DataFrame:
    """Returns the manifest with the groups that the config names."""
    if data.group_column:
        if data.group_column not in manifest:
            raise DataError(
                f"group_column={data.group_column} is not a column of {data.dataset}: its columns are "
                f"{', '.join(manifest.columns)}"
            )
        groups = manifest[data.group_column].astype("str")
        where = f"in column {data.group_column}"
    elif data.group_pattern:
        groups = manifest["key"].str.extract(data.group_pattern)[0].fillna("").astype("str")
        where = f"by group_pattern={data.group_pattern!r}"
    else:
        return manifest
    if (groups == "").any():
        key = manifest["key"][groups == ""].iloc[0]
        raise DataError(
            f"{(groups == '').sum()} examples have no group {where}, the first is {key!r}: give every example a group"
        )
    return manifest.assign(group=groups)


def _bits_of(manifest: pd.DataFrame, data: DataConfig) -> int:
    if data.bits != AUTO:
        return int(data.bits)
    return int(manifest["bits"].min()) if "bits" in manifest else ALL_BITS


def _choose_split_method(manifest: pd.DataFrame, data: DataConfig) -> str:
    if data.split_method != "auto":
        return data.split_method
    return "official" if splits.has_official(manifest) else "stratified"


def _split(manifest: pd.DataFrame, method: str, data: DataConfig) -> np.ndarray:
    validation: dict[str, Any] = {"split_seed": data.split_seed, "validation_fraction": data.validation_fraction}
    if method == "folds":
        return splits.folded(manifest, folds=data.folds, fold=data.fold, **validation)
    methods = {
        "stratified": splits.stratified,
        "hash": splits.hashed,
        "group": splits.grouped,
        "official": splits.official,
    }
    return methods[method](manifest, test_fraction=data.test_fraction, **validation)


def file_name(name: str) -> str:
    """Makes a name of the characters `[A-Za-z0-9._-]`, at most 64 of them.

    A name that loses letters by that ends with a digest, so that names of other scripts stay different.
    """
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "dataset"
    if len(cleaned) <= 64 and all(character.isascii() for character in name if character.isalnum()):
        return cleaned
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{cleaned[:55].rstrip('-.')}-{digest}"


def _image_shape(manifest: pd.DataFrame, data: DataConfig, *, only_one: bool) -> tuple[int, int, int]:
    shapes = manifest[["height", "width", "channels"]].drop_duplicates().sort_values(["height", "width"])
    if shapes["channels"].nunique() > 1:
        raise DataError(
            f"images of {data.dataset} have {sorted(shapes['channels'])} channels: a source must give "
            "all of its images the same number"
        )
    if data.image_size is not None:
        return (*data.image_size, int(shapes["channels"].iloc[0]))
    height, width, channels = (int(size) for size in shapes.iloc[0])
    if len(shapes) > 1 and only_one:
        raise DataError(
            f"images of {data.dataset} have {len(shapes):,} different sizes, from {height}x{width} to "
            f"{shapes['height'].iloc[-1]}x{shapes['width'].iloc[-1]} (height x width): give --image_size=HEIGHT,WIDTH"
        )
    return height, width, channels


def _check_splits(dataset: Dataset, data: DataConfig) -> None:
    counts = dataset.counts()
    for split in SPLITS:
        if counts[split].sum() == 0:
            way_out = "raise its fraction or add examples"
            if dataset.split_method == "official":
                way_out = "add examples, or pool the splits of the source with --split_method=stratified"
            raise DataError(
                f"split {split!r} of {data.dataset} is empty: {way_out}. Given: "
                f"{len(dataset.manifest)} examples, split_method={dataset.split_method}, "
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


def dataset_id(manifest: pd.DataFrame, class_names: Sequence[str]) -> str:
    """Computes a digest of the data that a model learns from: content, label, split and weight of every example.

    The split of an example enters the digest, not the settings that made it, so the ID stays the same if another method
    gives the same splits. The class names enter, and so does which examples share a source. The names of sources and
    folders, paths, file times and the order of rows or sources do not matter.

    Args:
        manifest: with the columns `digest`, `label`, `source`, the final `split` and, where weights differ, `weight`.
        class_names: name of class 0, 1, ...

    Returns:
        16 hex digits.
    """
    examples = manifest["digest"] + " " + manifest["label"].astype("str") + " " + manifest["split"]
    if "weight" in manifest:
        examples += " " + manifest["weight"].astype("str")
    sources = sorted(_digest("\n".join(part.sort_values())) for _, part in examples.groupby(manifest["source"]))
    return _digest(json.dumps([list(class_names), sources]))


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
