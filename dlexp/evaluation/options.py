"""Options of an evaluation: fields of the data, names of test-time augmentations, and file names."""

from collections.abc import Sequence

from dlexp.config.experiment_config import field_names
from dlexp.config.spelling import parse_names
from dlexp.errors import unknown_name

FOLDER = "evaluation"
PREDICTIONS_FILE = "predictions.parquet"
REPORT_FILE = "report.json"
PAGE_FILE = "report.html"

# Fields to open another dataset with. Its ID may differ from that of the run; the model decides the size of the images.
DATA_FIELDS = (*(name for name in field_names("makes_dataset") if name != "dataset_id"), "batch_size")
# Of the run's own dataset, only the place and the batch size may change.
_CHANGES_DATASET = {*field_names("makes_dataset")} & {*field_names("changes_result")}
OWN_DATA_FIELDS = tuple(name for name in DATA_FIELDS if name not in _CHANGES_DATASET)
TTA = ("flip", "shift")
NONE = "none"


def parse_tta(text: str) -> tuple[str, ...]:
    """Parses names separated by commas; returns them without duplicates, in the order of `TTA`.

    `none` and an empty text give an empty tuple.

    Raises:
        UnknownNameError: there is no such name.
    """
    return check_tta([name for name in parse_names(text) if name != NONE])


def check_tta(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names without duplicates, in the order of `TTA`.

    Raises:
        UnknownNameError: there is no such name.
    """
    for name in names:
        if name not in TTA:
            raise unknown_name("test-time augmentation", name, (NONE, *TTA))
    return tuple(name for name in TTA if name in names)
