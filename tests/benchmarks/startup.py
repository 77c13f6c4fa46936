"""How long the commands take that only list or explain."""

import json
import pathlib
import sys
import zipfile

from dlexp.checkpoints.metadata import METADATA_MEMBER, read_metadata
from dlexp.runs.run import Run, create_run
from dlexp.runs.store import iterate_runs
from tests.benchmarks.measuring import Row, interleave, process_seconds, run_process

_DLEXP = str(pathlib.Path(sys.executable).with_name("dlexp"))
_REPEATS = 5
_NUM_RUNS = 1_000
_TRAINING = ("--dataset=digits", "--model=mlp", "--epochs=1", "--tensorboard=false", "--verbose=0")


def measure(folder: str) -> list[Row]:
    """Times `--help`, `runs` and `checkpoints` in fresh processes, against a Python that does nothing.

    Args:
        folder: an empty folder for the store.
    """
    store = pathlib.Path(folder, "mlruns")
    _fill(store, _train(pathlib.Path(folder, "template")), _NUM_RUNS)
    rows = [_time("dlexp --help, s", ["--help"], peer="pass", aim_seconds=0.3)]
    return rows + [
        _time(
            f"dlexp {listing}, {_NUM_RUNS:,} runs, s",
            [listing, f"--store={store}"],
            peer="import pandas",
            aim_seconds=1.5,
        )
        for listing in ("runs", "checkpoints")
    ]


def _time(what: str, words: list[str], *, peer: str, aim_seconds: float) -> Row:
    bare = [sys.executable, "-c", peer]
    sides = {"dlexp": lambda: process_seconds([_DLEXP, *words]), "peer": lambda: process_seconds(bare)}
    seconds = interleave(sides, repeats=_REPEATS)
    best = min(seconds["dlexp"])
    return Row(what, best, min(seconds["peer"]), f"`python -c '{peer}'`", f"< {aim_seconds} s", best < aim_seconds)


def _train(store: pathlib.Path) -> Run:
    """Trains one tiny real run, which the others are copied from."""
    run_process([_DLEXP, "train", *_TRAINING, f"--store={store}"])
    return next(iterate_runs(store))


def _fill(store: pathlib.Path, template: Run, count: int) -> None:
    """Makes runs with everything that listings read: config, record, and two checkpoints with metadata, no weights."""
    config, record = template.config(), template.record()
    checkpoints = {path.name: read_metadata(path) for path in template.checkpoints_folder.glob("*.keras")}
    for number in range(count):
        own = {"run_id": f"{number:032x}", "name": f"{record['name']}-{number}"}
        values = {"seed": number, "learning_rate": (number + 1) / count}
        run = create_run(store, **(record | own), config=config.replace(**values))
        for name, metadata in checkpoints.items():
            with zipfile.ZipFile(run.checkpoints_folder / name, "w") as archive:
                archive.writestr("model.weights.h5", bytes(64))
                own_config = {"config": metadata["config"] | values}
                archive.writestr(METADATA_MEMBER, json.dumps(metadata | own | own_config, indent=1))
