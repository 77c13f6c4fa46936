"""The search of the largest batch: how long it takes, how many probes, and how close it comes to the truth."""

import pathlib
import sys
import time

import numpy as np

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory.budget import Budget
from dlexp.memory.largest_batch import Candidate, LargestBatch, SearchSettings, find_largest_batches
from dlexp.memory.prober import Prober
from tests.benchmarks.measuring import Row, process_seconds
from tests.benchmarks.peer_environment import PEERS, peer_python

_MODELS = (
    "mlp", "small_cnn", "resnet20", "resnet32", "resnet56", "vit_tiny", "MobileNetV2", "MobileNetV3Small",
    "EfficientNetB0", "DenseNet121",
)  # fmt: skip
_BUDGET = Budget(device="cpu", total_bytes=2 * 2**30, margin=0.1, origin="of the benchmark")
_SETTINGS = SearchSettings(multiple_of=8)
_MOST_SECONDS, _MOST_ERROR, _LEAST_SHARE, _PROBES = 240.0, 0.03, 0.9, 3.0


def measure(folder: str) -> list[Row]:
    """Searches ten models at once, then measures what lies above the batches that were chosen.

    Args:
        folder: for the images.
    """
    path = pathlib.Path(folder) / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (6000, 32, 32, 3), dtype=np.uint8)
    np.savez(path, x=images, y=np.arange(6000) % 10)
    base = ExperimentConfig.of(dataset=f"npz:{path}", epochs=10)
    started = time.perf_counter()
    found = find_largest_batches(
        [Candidate(name=model, config=base.replace(model=model)) for model in _MODELS], _BUDGET, _SETTINGS
    )
    seconds = time.perf_counter() - started
    probes = sum(one.num_probes for one in found) / len(found)
    limited = [one for one in found if one.size and one.size != one.largest_allowed]
    error = max((abs(_error(one)) for one in limited), default=0.0)
    for one in found:
        print(f"{one.name}: {one.size}, {one.num_probes} probes, {one.seconds:.0f} s", file=sys.stderr, flush=True)
    share = _share_of_the_largest(limited)
    what = f"{len(_MODELS)} models at 32x32 within 2 GiB"
    return [
        Row(f"{what}: seconds", seconds, _MOST_SECONDS, "aim", "<= 240 s", seconds <= _MOST_SECONDS, digits=0),
        Row(f"{what}: probes of a model", probes, _PROBES, "aim", "3", probes <= _PROBES),
        Row(f"{what}: error of a prediction, at most", error, _MOST_ERROR, "aim", "<= 0.03", error <= _MOST_ERROR),
        Row(f"{what}: share of the largest batch, at least", share, _LEAST_SHARE, "aim", ">= 0.9", share >= 0.9),
        _compare_with_lightning(base),
    ]


def _compare_with_lightning(base: ExperimentConfig) -> Row:
    """Times the search of one model, and that of Lightning up to the same batch."""
    candidate = Candidate(name="resnet20", config=base.replace(model="resnet20"))
    started = time.perf_counter()
    (found,) = find_largest_batches([candidate], _BUDGET, SearchSettings())
    seconds = time.perf_counter() - started
    python = peer_python("lightning", ["torch", "lightning", "mlflow", "scikit-learn"])
    peer = process_seconds([str(python), str(PEERS / "lightning_batch_size.py"), str(found.size)])
    what = f"largest batch of a ResNet-20 at 32x32 ({found.size}), s"
    return Row(what, seconds, peer, "Lightning's finder, to the same batch", "<= 0.5", seconds <= peer / 2, digits=1)


def _error(one: LargestBatch) -> float:
    """How far the prediction of a confirmed batch was from its measurement, as a share of it."""
    assert one.size is not None
    assert one.predicted_bytes is not None
    return one.predicted_bytes / one.peak_at(one.size) - 1


def _share_of_the_largest(found: list[LargestBatch]) -> float:
    """The least of the shares of the chosen batch in the largest one that fits, which is found by bisection."""
    shares = [1.0]
    with Prober(device=_BUDGET.device, limit_bytes=_BUDGET.total_bytes, time_limit_s=600) as prober:
        for one in found:
            assert one.size is not None
            fits, too_large = one.size, 2 * one.size
            while too_large - fits > max(_SETTINGS.multiple_of, fits // 50):
                middle = (fits + too_large) // 2
                probe = prober.measure(
                    one.config.replace(batch_size=middle, steps_per_execution="auto"), whole_run=True
                )
                if probe.report and probe.peak_bytes + one.unmeasured_bytes <= _BUDGET.usable_bytes:
                    fits = middle
                else:
                    too_large = middle
            shares.append(one.size / fits)
            print(f"{one.name}: {one.size} of {fits}, prediction {_error(one):+.3f}", file=sys.stderr, flush=True)
    return min(shares)
