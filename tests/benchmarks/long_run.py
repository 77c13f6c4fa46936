"""The cost of logging everything in a run of more than a minute, against a bare `fit` and `evaluate`."""

import pathlib
from collections.abc import Mapping
from functools import partial

from tests.benchmarks.measuring import Row, interleave, process_report
from tests.benchmarks.training import bare_command, dlexp_command, write_arrays

_MODEL, _NUM_IMAGES, _EPOCHS, _REPEATS = "small_cnn", 12_800, 20, 2
_EVERYTHING = ("--histograms", "--log_every_steps=50")  # in addition to the defaults
_MOST_PER_EPOCH = 1.03


def measure(folder: str) -> list[Row]:
    """Trains with and without dlexp, each time in a fresh process.

    Args:
        folder: an empty folder for the data and the store.
    """
    arrays, store = pathlib.Path(folder, "fashion.npz"), pathlib.Path(folder, "mlruns")
    write_arrays(arrays, num_train=_NUM_IMAGES)
    sides = {
        "dlexp": partial(process_report, [*dlexp_command(_MODEL, arrays, store, epochs=_EPOCHS), *_EVERYTHING]),
        "bare": partial(process_report, bare_command(_MODEL, arrays, epochs=_EPOCHS)),
    }
    reports = interleave(sides, repeats=_REPEATS)
    dlexp, bare = ({key: min(report[key] for report in side) for key in side[0]} for side in reports.values())
    return [
        _row("epoch, s", "epoch_seconds", dlexp, bare, aim="<= 1.03"),
        _row("from the imports to the end of the first step, s", "first_step_seconds", dlexp, bare),
        _row("from the last epoch to the end, s", "end_seconds", dlexp, bare),
        _row(f"all of a process of {_EPOCHS} epochs, s", "total_seconds", dlexp, bare),
    ]


def _row(what: str, key: str, dlexp: Mapping[str, float], bare: Mapping[str, float], *, aim: str = "") -> Row:
    met = dlexp[key] <= _MOST_PER_EPOCH * bare[key] if aim else None
    return Row(f"{_MODEL}, everything logged: {what}", dlexp[key], bare[key], "`fit`, `evaluate`", aim=aim, met=met)
