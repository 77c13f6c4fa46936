"""Kills trainings at random instants, resumes them, and counts runs with a different result: `make soak`."""

import argparse
import pathlib
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tests.support.killing import differences, train, train_under_kills

PLUGIN = str(pathlib.Path(__file__).parents[1] / "support" / "batchnorm_model.py")
TRAININGS: Mapping[str, Mapping[str, Any]] = {
    "dropout, crop, MixUp, cosine, early stopping": {
        "model": "small_cnn", "model_args": {"dropout": 0.3}, "augment": ("crop", "mixup"), "lr_schedule": "cosine",
        "early_stopping_patience": 2, "epochs": 6, "save_every_steps": 5, "steps_per_execution": "1",
    },
    "batch normalisation, moving average, plateau, own callback": {
        "model": "batchnorm_net", "plugins": (PLUGIN,), "callbacks": ("halve_after_three",), "ema_decay": 0.9,
        "lr_schedule": "plateau", "plateau_patience": 1, "optimizer": "sgd", "learning_rate": 0.05, "epochs": 7,
        "save_every_steps": 3, "steps_per_execution": "1",
    },
    "bfloat16, CutMix, RandAugment, one cycle, several steps in a call": {
        "model": "mlp", "model_args": {"dropout": 0.2}, "dtype_policy": "mixed_bfloat16", "optimizer": "lion",
        "augment": ("randaugment", "cutmix"), "lr_schedule": "one_cycle", "label_smoothing": 0.1, "epochs": 8,
        "learning_rate": 0.0003, "save_every_steps": 5, "steps_per_execution": "5",
    },
    "momentum by steps, balanced sampling, focal loss, scores over classes": {
        "model": "batchnorm_net", "plugins": (PLUGIN,), "batch_norm_momentum": "steps", "sampling": "balanced",
        "loss": "focal", "metrics": ("macro_f1", "recall/3"), "monitor": "val_macro_f1", "lr_schedule": "cosine",
        "warmup_epochs": 1.0, "epochs": 6, "save_every_steps": 3, "steps_per_execution": "1",
    },
    "class weights, float16 with skipped updates": {
        "model": "mlp", "model_args": {"dropout": 0.2}, "dtype_policy": "mixed_float16", "augment": ("mixup",),
        "class_weights": "3:4,5:0.5", "lr_schedule": "cosine", "epochs": 6, "save_every_steps": 5,
        "steps_per_execution": "1",
    },
}  # fmt: skip
_KILLS_PER_RUN = 4
_AT_ONCE = 2


def main() -> None:
    """Kills trainings `--kills` times, and exits with 1 if a run has a different result."""
    parser = argparse.ArgumentParser(prog="python -m tests.integration.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="dlexp-soak-") as folder:
        kills, different = soak(pathlib.Path(folder), kills=arguments.kills, seed=arguments.seed)
    seconds = time.perf_counter() - started
    print(f"{kills} kills in {seconds:.0f} s: {different} runs differ from those that were never stopped")
    sys.exit(different > 0)


def soak(folder: pathlib.Path, *, kills: int, seed: int) -> tuple[int, int]:
    """Trains each of `TRAININGS` without kills, then repeatedly with kills.

    Returns:
        The number of kills, and the number of runs that differ.
    """
    references, seconds = {}, {}
    for number, (name, values) in enumerate(TRAININGS.items()):
        started = time.perf_counter()
        references[name] = train({**values, "store": str(folder / f"reference-{number}"), "verbose": 0})
        seconds[name] = time.perf_counter() - started
    names, printing = list(TRAININGS), threading.Lock()

    def run_one(number: int) -> int:
        name, generator = names[number % len(names)], np.random.default_rng([seed, number])
        values = {**TRAININGS[name], "store": str(folder / str(number)), "verbose": 0}
        delays = generator.uniform(0, seconds[name], min(_KILLS_PER_RUN, kills - number * _KILLS_PER_RUN)).tolist()
        found = differences(train_under_kills(values, delays=delays), references[name])
        with printing:
            print(f"{name}: {len(delays)} kills, {', '.join(found) or 'equal'}", flush=True)
        return len(found) > 0

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        different = sum(pool.map(run_one, range(-(-kills // _KILLS_PER_RUN))))
    return kills, different


if __name__ == "__main__":
    main()
