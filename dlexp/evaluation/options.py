"""What an evaluation can be told: fields of the data, and names of test-time augmentations."""

from collections.abc import Sequence

from dlexp.config.experiment_config import field_names
from dlexp.config.spelling import parse_names
from dlexp.errors import unknown_name

FOLDER = "evaluation"
PREDICTIONS_FILE = "predictions.parquet"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"

# What another dataset is opened with. It need not have the ID of the run's; the model decides the size of the images.
DATA_FIELDS = (*(name for name in field_names("makes_dataset") if name != "dataset_id"), "batch_size")
# The run's own dataset may only lie elsewhere, or be fed in other batches.
_CHANGES_DATASET = {*field_names("makes_dataset")} & {*field_names("changes_result")}
OWN_DATA_FIELDS = tuple(name for name in DATA_FIELDS if name not in _CHANGES_DATASET)
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
