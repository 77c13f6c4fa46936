"""What a `dlexp train` costs beside a bare `model.fit` of the same network, data, batches and epochs."""

import gzip
import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.measuring import Row, interleave, process_report

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
    """Trains each network on both sides, in fresh processes.

    Args:
        folder: an empty one for the data and the store. The first run makes the database of the store and is measured
            apart; those that are compared add to it.
    """
    return [row for training in _TRAININGS for row in _compare(training, pathlib.Path(folder))]
