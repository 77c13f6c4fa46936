"""What a `dlexp train` costs beside a bare `model.fit` of the same network, data, batches and epochs."""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from tests.benchmarks.measuring import Row

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
_BATCH_SIZE, _LEARNING_RATE, _WEIGHT_DECAY = 128, 0.001, 0.0001
_NUM_VALIDATION = 1_024
_EPOCHS = 4
_REPEATS = 3
_PEER = "`model.fit`"


@dataclass(frozen=True)
class Training:
    """What is trained.

    Attributes:
        model: its name in dlexp and in the bare script.
        num_images: training images. Few, so that an epoch takes seconds: on all 60,000 of Fashion-MNIST, what dlexp
            adds to each epoch is the same and its share smaller.
    """

    model: str
    num_images: int


_TRAININGS = (Training("small_cnn", 6_400), Training("resnet20", 2_560))


def measure(folder: str) -> list[Row]:
    """Trains each network on both sides, in fresh processes, all those of dlexp in one store.

    Args:
        folder: an empty one for the data and the store.
    """
    return [row for training in _TRAININGS for row in _compare(training, pathlib.Path(folder, training.model))]


def _compare(training: Training, folder: pathlib.Path) -> list[Row]:
    folder.mkdir()
    data = folder / "fashion.npz"
    write_arrays(data, num_train=training.num_images, num_validation=_NUM_VALIDATION)
    sides = {
        "dlexp": lambda: process_report(_dlexp_command(training, data, folder / "mlruns")),
        "bare": lambda: process_report(_bare_command(training, data)),
    }
    reports = interleave(sides, repeats=_REPEATS)
    # The first run makes the store's database; the least of each figure is of one that finds it there.
    dlexp, bare = ({key: min(report[key] for report in reports[side]) for key in reports[side][0]} for side in sides)
    return _rows(training, dlexp, bare, new_store_seconds=reports["dlexp"][0]["first_step_seconds"])


def _rows(
    training: Training, dlexp: Mapping[str, float], bare: Mapping[str, float], *, new_store_seconds: float
) -> list[Row]:
    def row(what: str, key: str, **aim: Any) -> Row:
        return Row(f"{training.model}: {what}", dlexp[key], bare[key], _PEER, **aim)

    later = dlexp["first_step_seconds"] - bare["first_step_seconds"]
    return [
        row("epoch, s", "epoch_seconds", aim="<= 1.05", met=dlexp["epoch_seconds"] <= 1.05 * bare["epoch_seconds"]),
        row("imports, s", "import_seconds"),
        row("imports to the end of the first step, s", "first_step_seconds", aim="<= 1.5 s more", met=later <= 1.5),
        Row(f"{training.model}: the same in a new store, s", new_store_seconds, bare["first_step_seconds"], _PEER),
        row(
            "peak memory, MB",
            "peak_megabytes",
            aim="<= 1.10",
            met=dlexp["peak_megabytes"] <= 1.10 * bare["peak_megabytes"],
            digits=0,
        ),
        row(f"whole process, {_EPOCHS} epochs, s", "total_seconds"),
    ]


def write_arrays(path: pathlib.Path, *, num_train: int, num_validation: int) -> None:
    """Writes the first images of Fashion-MNIST as arrays that both sides read; the test set is as large as validation.

    Args:
        path: of the `.npz` file.
        num_train: training images.
        num_validation: validation images, which follow on those.
    """
    images, labels = (
        _read_idx(f"train-{name}-ubyte.gz", skip) for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    images = images.reshape(-1, 28, 28, 1)
    ends = np.cumsum([0, num_train, num_validation, num_validation])
    splits = zip(("train", "validation", "test"), ends[:-1], ends[1:], strict=True)
    arrays = {split: slice(start, end) for split, start, end in splits}
    np.savez(
        path,
        **{f"x_{split}": images[part] for split, part in arrays.items()},
        **{f"y_{split}": labels[part] for split, part in arrays.items()},
    )


def _read_idx(name: str, skip: int) -> np.ndarray:
    path = FASHION_MNIST / name
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=skip)


def _dlexp_command(training: Training, data: pathlib.Path, store: pathlib.Path) -> list[str]:
    return [
        *(sys.executable, "-m", "tests.benchmarks.dlexp_fit", f"--model={training.model}", f"--dataset=npz:{data}"),
        *("--split_method=official", f"--batch_size={_BATCH_SIZE}", f"--epochs={_EPOCHS}", "--optimizer=adamw"),
        *(f"--learning_rate={_LEARNING_RATE}", f"--weight_decay={_WEIGHT_DECAY}", f"--store={store}"),
        "--steps_per_execution=1",  # as in the bare script; a first step of several would come later
    ]


def _bare_command(training: Training, data: pathlib.Path) -> list[str]:
    numbers = map(str, (_BATCH_SIZE, _EPOCHS, _LEARNING_RATE, _WEIGHT_DECAY))
    return [sys.executable, "-m", "tests.benchmarks.bare_fit", training.model, str(data), *numbers]
