"""Maps the labels of a dataset to the classes of a checkpoint, by class name."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dlexp.datasets import Dataset
from dlexp.errors import DataError

_MOST_NAMED = 5


def with_classes_of(dataset: Dataset, class_names: Sequence[str]) -> Dataset:
    """Returns the dataset with its labels renumbered as in a checkpoint; its name and its ID stay the same.

    Args:
        dataset: has some or all of the classes, in any order.
        class_names: of the checkpoint, in the order of its logits.

    Raises:
        DataError: the dataset has classes that the checkpoint lacks; they are named.
    """
    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        named = ", ".join(map(repr, unknown[:_MOST_NAMED])) + (", ..." if len(unknown) > _MOST_NAMED else "")
        raise DataError(
            f"{len(unknown)} of {dataset.num_classes} classes of {dataset.name} are not among the {len(class_names)} "
            f"of the checkpoint: {named}: rename them or leave them out with --class_map; the checkpoint has "
            f"{', '.join(class_names[:50])}"
        )
    labels = np.array([class_names.index(name) for name in dataset.class_names])
    manifest = dataset.manifest.assign(label=labels[dataset.manifest["label"]])
    return replace(dataset, class_names=tuple(class_names), manifest=manifest)
