"""Datasets and their input pipelines: every batch is a pure function of (dataset, seed, step).

Names are imported on first use. So a process that only reads files (`images.file_facts`) starts without pandas, and
code that needs no pixels starts without TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlexp.datasets.dataset import Dataset, open_dataset
    from dlexp.datasets.pipeline import Datasets, build_datasets
    from dlexp.datasets.sources.encoded import FileSource
    from dlexp.datasets.sources.left_out import left_out_table
    from dlexp.datasets.sources.source import ArraySource, Source, array_digests, build_manifest

_MODULES = {
    "ArraySource": "sources.source",
    "Dataset": "dataset",
    "Datasets": "pipeline",
    "FileSource": "sources.encoded",
    "Source": "sources.source",
    "array_digests": "sources.source",
    "build_datasets": "pipeline",
    "build_manifest": "sources.source",
    "left_out_table": "sources.left_out",
    "open_dataset": "dataset",
}

__all__ = [
    "ArraySource",
    "Dataset",
    "Datasets",
    "FileSource",
    "Source",
    "array_digests",
    "build_datasets",
    "build_manifest",
    "left_out_table",
    "open_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
