"""A hundred tracked runs of a small CNN on the digits, against code that a user would write; and successive halving.

Each run: two 3x3 convolutions and a dense layer, batches of 64, AdamW, 5 epochs, the best and the last checkpoint kept,
everything in MLflow (except with KerasTuner). A separate script process for each run is so slow that only five are
measured and scaled up. dlexp also evaluates each best checkpoint on validation and test data; the peers do not.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import psutil

from dlexp.runs.store import iterate_runs
from dlexp.tracking.sync import copy_trial
from tests.benchmarks.measuring import Row, process_seconds, seconds_of
from tests.benchmarks.peer_environment import PEERS, peer_python

_RUNS, _MEASURED_SCRIPTS = 100, 5
_TASK = "100 runs of a small CNN on digits, s"
_SPACE = "--space=learning_rate=log(1e-4,1e-2); weight_decay=log(1e-6,1e-2)"
_GRID = "--space=learning_rate=choice(0.0003,0.001,0.003,0.01,0.03); model=choice(mlp,small_cnn)"
_GRID_EPOCHS, _SEEDS = 9, 3
_MANY_RUNS, _EARLY_AND_LATE = 200, ((20, 40), (180, 201))


def measure(folder: str) -> list[Row]:
    """Returns the rows of the table.

    Args:
        folder: an empty folder for the stores.
    """
    root = pathlib.Path(folder)
    warm = process_seconds(sweep_command(root / "warm", runs=_RUNS))
    fresh = process_seconds(sweep_command(root / "fresh", "--fresh_process", runs=_RUNS))
    script = _time_scripts(root / "script") * _RUNS / _MEASURED_SCRIPTS
    lightning = _time_peer("lightning_loop.py", root / "lightning", ["torch", "lightning", "mlflow", "scikit-learn"])
    tuner = _time_peer(
        "keras_tuner_search.py", root / "tuner", ["tensorflow", "tensorboard", "keras", "keras-tuner", "scikit-learn"]
    )
    scaled = f"Keras script, {_MEASURED_SCRIPTS} measured"

    def row(seconds: float, peer: float, name: str, factor: float, what: str = _TASK) -> Row:
        return Row(what, seconds, peer, name, f"<= 1/{factor:g}", seconds * factor <= peer, digits=1)

    return [
        row(warm, script, scaled, 30),
        row(warm, lightning, "Lightning loop in one process", 1.5),
        row(warm, tuner, "KerasTuner", 4),
        row(fresh, script, scaled, 15, "the same, each in a fresh process, s"),
        *_measure_copying(root / "warm"),
        *_measure_growth(root / "growth"),
        _compare_halving(root / "halving"),
    ]


def sweep_command(store: pathlib.Path, *words: str, runs: int) -> list[str]:
    """Returns the command of a random search over learning rate and weight decay."""
    flags = ["--dataset=digits", "--epochs=5", "--batch_size=64", f"--store={store}", _SPACE]
    return [sys.executable, "-m", "dlexp.commands.cli", "sweep", *flags, "--search=random", f"--trials={runs}", *words]


def _time_scripts(store: pathlib.Path) -> float:
    store.mkdir()
    script = [sys.executable, str(PEERS / "keras_script.py"), str(store)]
    # The first script creates the database, which a hundred runs do only once.
    process_seconds([*script, "0"])
    return sum(process_seconds([*script, str(seed)]) for seed in range(1, 1 + _MEASURED_SCRIPTS))


def _time_peer(script: str, store: pathlib.Path, packages: Sequence[str]) -> float:
    store.mkdir()
    python = peer_python(script.partition("_")[0], packages)
    return process_seconds([str(python), str(PEERS / script), str(store), str(_RUNS)])


def _measure_copying(store: pathlib.Path) -> list[Row]:
    """Times the copy of a trial to MLflow, which the driver makes while the workers train."""
    runs = list(iterate_runs(store))
    for path in store.glob("mlflow.db*"):
        path.unlink()
    copy_trial(runs[0], registers_best=False)  # creates the database
    seconds = statistics.median(seconds_of(partial(copy_trial, run, registers_best=False)) for run in runs[1:])
    trial = statistics.median(trial["seconds"] for trial in _trials(next((store / "sweeps").iterdir())))
    return [Row("copying a trial to MLflow, s", seconds, trial, "the trial", digits=3)]


def _measure_growth(store: pathlib.Path) -> list[Row]:
    """Compares memory of the driver and its workers, and time of a trial, between first and last of many trials."""
    command = [*sweep_command(store, "--sweep_name=growth", runs=_MANY_RUNS), "--workers=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples: list[tuple[int, int, int]] = []
    while process.poll() is None:
        time.sleep(0.5)
        samples += _sample_memory(process.pid, store / "sweeps" / "growth" / "trials")
    trials = sorted(_trials(store / "sweeps" / "growth"), key=lambda trial: int(trial["number"]))
    spans = [[sample for sample in samples if low <= sample[0] < high] for low, high in reversed(_EARLY_AND_LATE)]
    megabytes = [[statistics.median(sample[part] for sample in span) / 1e6 for span in spans] for part in (1, 2)]
    seconds = [statistics.median(trial["seconds"] for trial in span) for span in (trials[-20:], trials[:20])]
    name = f"trials {_EARLY_AND_LATE[0][0]} to {_EARLY_AND_LATE[0][1]}"

    def row(what: str, figures: list[float], peer: str, digits: int) -> Row:
        late, early = figures
        return Row(what, late, early, peer, "<= 1.10", late <= 1.1 * early, digits=digits)

    return [
        row(f"memory of the driver, last of {_MANY_RUNS} trials, MB", megabytes[0], name, 0),
        row("memory of a worker, MB", megabytes[1], name, 0),
        row("a trial, median of the last 20, s", seconds, "the first 20", 2),
    ]


def _sample_memory(driver: int, trials: pathlib.Path) -> list[tuple[int, int, int]]:
    """Returns the number of trials, and the resident bytes of the driver and of its largest worker."""
    try:
        process = psutil.Process(driver)
        workers = [worker.memory_info().rss for worker in process.children(recursive=True)]
        return [(len(list(trials.glob("*.json"))), process.memory_info().rss, max(workers, default=0))]
    except psutil.Error:
        return []


def _compare_halving(store: pathlib.Path) -> Row:
    """Compares the epochs that successive halving trains with those of the whole grid; it must find as good a point."""
    command = [sys.executable, "-m", "dlexp.commands.cli", "sweep", "--dataset=digits", f"--store={store}", _GRID]
    command += [f"--epochs={_GRID_EPOCHS}", f"--seeds={_SEEDS}"]
    process_seconds([*command, "--sweep_name=grid"])
    process_seconds([*command, "--sweep_name=halving", "--pruner=halving"])
    grid, halving = (_trials(store / "sweeps" / name) for name in ("grid", "halving"))
    best = [_best_mean(trials) for trials in (grid, halving)]
    epochs = [sum(trial["epochs"] for trial in trials) for trials in (halving, grid)]
    met = best[1] >= best[0] and epochs[0] <= epochs[1] / 2
    what = f"epochs of successive halving; best mean val_accuracy {best[1]:.4f}, of the grid {best[0]:.4f}"
    return Row(what, epochs[0], epochs[1], "the whole grid", "<= 0.5, as good", met, digits=0)


def _best_mean(trials: list[dict[str, Any]]) -> float:
    """Returns the best mean validation accuracy of the points all of whose seeds have finished."""
    points: dict[int, list[float]] = {}
    for trial in trials:
        if trial["state"] == "FINISHED":
            points.setdefault(trial["point_number"], []).append(trial["values"]["val_accuracy"])
    return max(statistics.fmean(values) for values in points.values() if len(values) == _SEEDS)


def _trials(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "trials").glob("*.json")]
