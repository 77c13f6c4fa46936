"""`dlexp train` against a bare `model.fit` of the same network, data, batches and epochs."""

import gzip
import pathlib
import sys
from collections.abc import Mapping
from functools import partial

import numpy as np

from tests.benchmarks.measuring import Row, interleave, process_report

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
# Number of training images by model: few, so that an epoch takes seconds. The overhead of dlexp per epoch does not grow
# with the number of images, so that its share of an epoch of all 60,000 images is smaller than the one measured here.
_NUM_IMAGES = {"small_cnn": 6_400, "resnet20": 2_048}
_NUM_HELD_OUT = 512
_BATCH_SIZE, _EPOCHS, _LEARNING_RATE, _WEIGHT_DECAY = 128, 3, 0.001, 0.0001
_REPEATS = 3
_PEER = "`model.fit`"


def measure(folder: str) -> list[Row]:
    """Trains two networks with and without dlexp, each time in a fresh process.

    Args:
        folder: an empty folder for the data and the store.
    """
    return [row for model in _NUM_IMAGES for row in _compare(model, pathlib.Path(folder, model))]


def _compare(model: str, folder: pathlib.Path) -> list[Row]:
    folder.mkdir()
    arrays = folder / "fashion.npz"
    write_arrays(arrays, num_train=_NUM_IMAGES[model])
    sides = {
        "dlexp": partial(process_report, dlexp_command(model, arrays, folder / "mlruns", epochs=_EPOCHS)),
        "bare": partial(process_report, bare_command(model, arrays, epochs=_EPOCHS)),
    }
    reports = interleave(sides, repeats=_REPEATS)
    # The first run creates the database of the store; the minimum of a figure comes from a later run.
    dlexp, bare = ({key: min(report[key] for report in side) for key in side[0]} for side in reports.values())
    return _rows(model, dlexp, bare, new_store_seconds=reports["dlexp"][0]["first_step_seconds"])


def _rows(model: str, dlexp: Mapping[str, float], bare: Mapping[str, float], *, new_store_seconds: float) -> list[Row]:
    def row(what: str, key: str, *, aim: str = "", met: bool | None = None, digits: int = 2) -> Row:
        return Row(f"{model}: {what}", dlexp[key], bare[key], _PEER, aim=aim, met=met, digits=digits)

    def within(key: str, factor: float) -> bool:
        return dlexp[key] <= factor * bare[key]

    soon = dlexp["first_step_seconds"] - bare["first_step_seconds"] <= 1.5
    return [
        row("epoch, s", "epoch_seconds", aim="<= 1.05", met=within("epoch_seconds", 1.05)),
        row("imports, s", "import_seconds"),
        row("from there to the end of the first step, s", "first_step_seconds", aim="<= 1.5 s more", met=soon),
        Row(f"{model}: the same in a new store, s", new_store_seconds, bare["first_step_seconds"], _PEER),
        row("peak memory, MB", "peak_megabytes", aim="<= 1.10", met=within("peak_megabytes", 1.10), digits=0),
        row(f"all of a process of {_EPOCHS} epochs, s", "total_seconds"),
    ]


def write_arrays(path: pathlib.Path, *, num_train: int) -> None:
    """Writes the first images of Fashion-MNIST as the `.npz` file that both sides read.

    Args:
        path: path of the file.
        num_train: number of training images; the validation images and the test images come after them.
    """
    images = _read_idx("train-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28, 1)
    labels = _read_idx("train-labels-idx1-ubyte.gz", header=8)
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for split, count in (("train", num_train), ("validation", _NUM_HELD_OUT), ("test", _NUM_HELD_OUT)):
        part = slice(start, start + count)
        arrays |= {f"x_{split}": images[part], f"y_{split}": labels[part]}
        start += count
    np.savez(path, allow_pickle=False, **arrays)


def _read_idx(name: str, *, header: int) -> np.ndarray:
    path = FASHION_MNIST / name
    if not path.exists():
        sys.exit(f"{str(path)!r} does not exist: install Debian's package dataset-fashion-mnist")
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def dlexp_command(model: str, arrays: pathlib.Path, store: pathlib.Path, *, epochs: int) -> list[str]:
    """Returns the command that trains with dlexp and prints a report."""
    return [
        *(sys.executable, "-m", "tests.benchmarks.dlexp_fit", f"--model={model}", f"--dataset=npz:{arrays}"),
        *("--split_method=official", f"--batch_size={_BATCH_SIZE}", f"--epochs={epochs}", "--optimizer=adamw"),
        *(f"--learning_rate={_LEARNING_RATE}", f"--weight_decay={_WEIGHT_DECAY}", f"--store={store}"),
        "--steps_per_execution=1",  # as in the bare script: a call of several steps would end later than one step
    ]


def bare_command(model: str, arrays: pathlib.Path, *, epochs: int) -> list[str]:
    """Returns the command that trains without dlexp and prints a report."""
    numbers = map(str, (_BATCH_SIZE, epochs, _LEARNING_RATE, _WEIGHT_DECAY))
    return [sys.executable, "-m", "tests.benchmarks.bare_fit", model, str(arrays), *numbers]
