"""What an evaluation can be told: fields of the data, and names of test-time augmentations."""

from collections.abc import Sequence

from dlexp.config.spelling import parse_names
from dlexp.errors import unknown_name

FOLDER = "evaluation"
PREDICTIONS_FILE = "predictions.parquet"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"

# What another dataset is opened with; the run's own may only lie elsewhere, or be fed in other batches.
DATA_FIELDS = (
    "dataset", "data_dir", "dataset_name", "class_map", "on_bad_image", "split_method", "split_seed",
    "validation_fraction", "test_fraction", "group_column", "group_pattern", "folds", "fold", "batch_size",
)  # fmt: skip
OWN_DATA_FIELDS = ("data_dir", "batch_size")
TTA = ("flip", "shift")
NONE = "none"


def parse_tta(text: str) -> tuple[str, ...]:
    """Names joined by commas, each once and in the order of `TTA`; `none` or nothing gives none.

    Raises:
        UnknownNameError: there is no such name.
    """
    return check_tta([name for name in parse_names(text) if name != NONE])


def check_tta(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once and in the order of `TTA`.

    Raises:
        UnknownNameError: there is no such name.
    """
    for name in names:
        if name not in TTA:
            raise unknown_name("test-time augmentation", name, (NONE, *TTA))
    return tuple(name for name in TTA if name in names)
