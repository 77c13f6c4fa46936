"""Data as a pure function of (dataset, seed, step). What reads pixels is imported when it is first used."""

from typing import TYPE_CHECKING, Any

from dlexp.datasets.dataset import Dataset, open_dataset
from dlexp.datasets.encoded import FileSource
from dlexp.datasets.source import ArraySource, Source, array_digests, build_manifest

if TYPE_CHECKING:
    from dlexp.datasets.pipeline import Datasets, build_datasets

__all__ = [
    "ArraySource",
    "Dataset",
    "Datasets",
    "FileSource",
    "Source",
    "array_digests",
    "build_datasets",
    "build_manifest",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name in ("Datasets", "build_datasets"):
        from dlexp.datasets import pipeline  # here, since it imports TensorFlow

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
