"""The picture of memory over batch size is drawn for any result."""

import pathlib
from collections.abc import Sequence

import pytest
from PIL import Image

from dlexp.memory.largest_batch import LargestBatch
from dlexp.memory.picture import draw_memory
from dlexp.memory.prober import Outcome
from tests.support.found_batches import BUDGET, found_batch, not_measured

KILLED = not_measured(Outcome.NO_MEMORY, "needs more than 1 GiB", peak_bytes=2**31)
RESULTS: dict[str, Sequence[LargestBatch]] = {
    "one model": [found_batch("mlp", 512)],
    "ten models": [found_batch(f"a model with a long name, number {n}", 2**n, slope=800 / 2**n) for n in range(1, 11)],
    "a batch of one": [found_batch("huge", 1, smallest=1, slope=700)],
    "models without a batch": [found_batch("mlp", None), found_batch("raises", None, probes={8: KILLED})],
    "both kinds": [found_batch("mlp", 64), found_batch("raises", None, probes={8: KILLED, 4: KILLED})],
    "a probe above the budget": [found_batch("mlp", 64, probes={**found_batch("mlp", 64).probes, 1024: KILLED})],
    "more than the budget with one example": [
        found_batch("huge", None, probes=found_batch("huge", 1, smallest=1, fixed=5000).probes)
    ],
    "no line": [found_batch("mlp", 8, line=None)],
}


@pytest.mark.parametrize("found", RESULTS.values(), ids=RESULTS)
def test_picture_is_written(found: Sequence[LargestBatch], tmp_path: pathlib.Path) -> None:
    path = tmp_path / "memory.png"
    draw_memory(found, BUDGET, path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) >= 300
