"""Checks whether the data on disk is still the data that a run saw."""

from dataclasses import replace

import pandas as pd

from dlexp.config.sections import DataConfig
from dlexp.datasets import open_dataset
from dlexp.datasets.sources.combined import damage_of


def compare_with_record(recorded: pd.DataFrame, data: DataConfig, *, dataset_id: str) -> pd.DataFrame:
    """Opens the dataset of a run again, reading every byte, and compares it with the manifest of the run.

    Args:
        recorded: the manifest that the run has recorded.
        data: how the run opened the dataset; `data_dir` may be another.
        dataset_id: the ID that the run has recorded.

    Returns:
        One row per example that differs, sorted by key: key, and difference (what it was and what it is). If only the
        ID differs, as if a class was renamed, one row with the key "".

    Raises:
        DataError: the data cannot be opened at all.
    """
    dataset = open_dataset(replace(data, on_bad_image="skip", dataset_id=""), trainable=False, reread=True)
    differences = compare_manifests(recorded, dataset.manifest, damage_of(dataset.source))
    if differences.empty and dataset.id != dataset_id:
        message = (
            f"class names, or which examples share a source, have changed: its ID is {dataset.id}, was {dataset_id}"
        )
        return pd.DataFrame({"key": [""], "difference": [message]})
    return differences


def compare_manifests(recorded: pd.DataFrame, found: pd.DataFrame, damaged: pd.DataFrame) -> pd.DataFrame:
    """Lists the differences between two manifests.

    Args:
        recorded: key, digest, label, split and source of each example, as a run saw them.
        found: the same columns, as they are now.
        damaged: examples that cannot be read now, with the columns key and reason.

    Returns:
        The columns key and difference.
    """
    old, new = recorded.set_index("key"), found.set_index("key")
    reasons = damaged.set_index("key")["reason"]
    differences = {
        key: f"cannot be read: {reasons[key]}" if key in reasons else "is gone"
        for key in old.index.difference(new.index)
    }
    differences |= dict.fromkeys(new.index.difference(old.index), "is new")
    common = old.index.intersection(new.index)
    old, new = old.loc[common], new.loc[common]
    for column, what in (("split", "split"), ("label", "label"), ("digest", "content")):
        differs = old[column] != new[column]
        differences |= {
            key: f"{what} has changed" if column == "digest" else f"{what} is {now}, was {before}"
            for key, before, now in zip(common[differs], old[column][differs], new[column][differs], strict=True)
        }
    return pd.DataFrame(sorted(differences.items()), columns=["key", "difference"])
