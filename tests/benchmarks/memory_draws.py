"""Never out of memory: batches that are chosen for random trainings, which then run, measured from outside.

`DLEXP_BENCH_DRAWS=200 python -m tests.benchmarks --only=memory_draws` draws that many, which takes about a minute for
one; `DLEXP_BENCH_SEED=1` draws others.
"""

import os
import pathlib
import random
import sys

import numpy as np

from tests.benchmarks.measuring import Row
from tests.support.outside import run_dlexp

_DRAWS = 10
_STEPS = 20
_IMAGES = 3000
_MODELS = ("mlp", "small_cnn", "resnet20", "vit_tiny", "MobileNetV3Small")
_SIDES, _LEAST_SIDE = (16, 24, 32, 48), {"MobileNetV3Small": 32}
_OPTIMIZERS = ("sgd", "adamw", "rmsprop", "lion", "muon")
_POLICIES = ("float32", "mixed_bfloat16", "bfloat16")
_BUDGETS_MIB = (1200, 1500, 2000, 3000)


def measure(folder: str) -> list[Row]:
    """Draws trainings, chooses their batches, trains them, and counts those that took more than their budget.

    Args:
        folder: for the images and the stores.
    """
    root = pathlib.Path(folder)
    images = np.random.default_rng(0).integers(0, 256, (_IMAGES, 32, 32, 3), dtype=np.uint8)
    np.savez(root / "images.npz", x=images, y=np.arange(_IMAGES) % 10)
    draws = int(os.environ.get("DLEXP_BENCH_DRAWS", _DRAWS))
    chance = random.Random(int(os.environ.get("DLEXP_BENCH_SEED", 0)))
    trained, exceeded, fullest = 0, 0, 0.0
    for number in range(draws):
        words, budget_mib = _draw(chance, root)
        share = _train(words, budget_mib, root, number)
        if share is not None:
            trained += 1
            exceeded += share > 1
            fullest = max(fullest, share)
        result = "no batch fits" if share is None else f"{share:.3f}"
        print(f"{number}: {' '.join(words[1:])} within {budget_mib} MiB: {result}", file=sys.stderr, flush=True)
    what = f"{draws} random trainings, {trained} with a batch that fits"
    return [
        Row(f"{what}: above their budget", exceeded, max(trained, 1), "trained", "0", exceeded == 0, digits=0),
        Row(f"{what}: largest share of a budget", fullest, 1, "budget", digits=3),
    ]


def _draw(chance: random.Random, root: pathlib.Path) -> tuple[list[str], int]:
    model = chance.choice(_MODELS)
    side = chance.choice([side for side in _SIDES if side >= _LEAST_SIDE.get(model, 0)])
    words = [
        f"--dataset=npz:{root / 'images.npz'}", f"--model={model}", f"--image_size={side}",
        f"--optimizer={chance.choice(_OPTIMIZERS)}", f"--dtype_policy={chance.choice(_POLICIES)}",
        f"--ema_decay={chance.choice((0, 0.99))}", "--verbose=0", "--learning_rate=1e-5",
    ]  # fmt: skip
    return words, chance.choice(_BUDGETS_MIB)


def _train(words: list[str], budget_mib: int, root: pathlib.Path, number: int) -> float | None:
    """The share of its budget that a training took with the batch that was chosen for it; None if none fits."""
    flagfile = root / f"{number}.flags"
    search = ["batch-size", *words, f"--memory_budget={budget_mib}MiB", f"--output={flagfile}"]
    searched = run_dlexp(search, folder=root)
    if searched.code:
        if "one example needs" not in searched.output:
            raise RuntimeError(searched.output)
        return None
    batch_size = int(flagfile.read_text(encoding="utf-8").splitlines()[-1].rpartition("=")[2])
    epochs = max(1, -(-_STEPS * batch_size // int(0.7 * _IMAGES)))
    ended = run_dlexp(
        ["train", f"--flagfile={flagfile}", *words, f"--epochs={epochs}", f"--experiment={number}"], folder=root
    )
    if ended.code:
        raise RuntimeError(ended.output)
    return ended.peak_bytes / (budget_mib * 2**20)
