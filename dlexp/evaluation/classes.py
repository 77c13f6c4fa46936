"""A dataset seen with the classes of a checkpoint, which are matched by name."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dlexp.datasets import Dataset
from dlexp.errors import DataError

_MOST_NAMED = 5


def with_classes_of(dataset: Dataset, class_names: Sequence[str]) -> Dataset:
    """The dataset with its labels counted as a checkpoint counts them; its name and its ID stay.

    Args:
        dataset: with some of the classes, in any order.
        class_names: of the checkpoint, in the order of its logits.

    Raises:
        DataError: it has other classes, which are named.
    """
    unknown = [name for name in dataset.class_names if name not in class_names]
    if unknown:
        named = ", ".join(map(repr, unknown[:_MOST_NAMED])) + (", ..." if len(unknown) > _MOST_NAMED else "")
        raise DataError(
            f"{len(unknown)} of {dataset.num_classes} classes of {dataset.name} are not among the {len(class_names)} "
            f"of the checkpoint: {named}: rename them or leave them out with --class_map; it knows "
            f"{', '.join(class_names[:50])}"
        )
    labels = np.array([class_names.index(name) for name in dataset.class_names])
    manifest = dataset.manifest.assign(label=labels[dataset.manifest["label"]])
    return replace(dataset, class_names=tuple(class_names), manifest=manifest)
