"""The memory that a short run does not show."""

import numpy as np
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.datasets import ArraySource, Dataset, open_dataset
from dlexp.memory.unmeasured import unmeasured_bytes
from dlexp.registry import SOURCES


def dataset_of(count: int, *, num_classes: int = 10, side: int = 4) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 1), dtype=np.uint8)
    names = tuple(f"c{number:03}" for number in range(num_classes))
    source = ArraySource("noise", images, labels=np.arange(count) % num_classes, class_names=names)
    with SOURCES.override("noise", lambda spec, *, data_dir: source):
        return open_dataset(DataConfig(dataset="noise"))


def test_predictions_of_validation_and_test_count() -> None:
    dataset = dataset_of(1000)
    held = dataset.count("validation") + dataset.count("test")
    assert unmeasured_bytes(ExperimentConfig(), dataset) == pytest.approx(held * (700 + 60 * 10), rel=0.2)


def test_more_classes_need_more() -> None:
    few, many = dataset_of(2000, num_classes=2), dataset_of(2000, num_classes=100)
    assert unmeasured_bytes(ExperimentConfig(), many) > 2 * unmeasured_bytes(ExperimentConfig(), few)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_cached_images_count_as_a_whole(cache: str) -> None:
    dataset = dataset_of(500, side=16)
    more = unmeasured_bytes(ExperimentConfig.of(cache=cache), dataset) - unmeasured_bytes(ExperimentConfig(), dataset)
    assert more == 500 * 16 * 16
