"""Mean and variance of the pixels of a training split."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest

from dlexp import ExperimentConfig, load_checkpoint, run_experiment
from dlexp.config.sections import ModelConfig
from dlexp.datasets import build_datasets
from dlexp.errors import ConfigError
from dlexp.models.build import ChannelStatistics, build_model
from dlexp.registry import MODELS
from dlexp.training.statistics import measure_channels


@pytest.mark.parametrize("batch_size", [7, 128])
def test_statistics_are_those_of_the_training_pixels_in_any_batches(batch_size: int) -> None:
    datasets = build_datasets(ExperimentConfig.of(dataset="digits", batch_size=batch_size, augment=("crop",)))
    pixels = datasets.read_images(datasets.dataset.rows("train")).astype(np.float64)
    statistics = measure_channels(datasets)
    np.testing.assert_allclose(statistics.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(statistics.variance, pixels.var(axis=(0, 1, 2)), rtol=1e-12)


def normalized(input_shape: Any, num_classes: int, statistics: ChannelStatistics) -> keras.Model:
    layers = keras.layers
    scale = layers.Normalization(mean=statistics.mean, variance=statistics.variance)
    return keras.Sequential([layers.Input(input_shape), scale, layers.Flatten(), layers.Dense(num_classes)])


@pytest.mark.usefixtures("quick_database")
def test_model_that_normalizes_by_the_data_records_the_statistics(tmp_path: pathlib.Path) -> None:
    quick = {"epochs": 1, "verbose": 0, "evaluation_report": False, "tensorboard": False, "sample_pictures": False}
    with MODELS.override("normalized", normalized):
        result = run_experiment(ExperimentConfig.of(model="normalized", **quick, store=str(tmp_path)))
    record = result.run.record()
    (mean,), (variance,) = record["pixel_mean"], record["pixel_variance"]
    assert record["verified"]
    layer = load_checkpoint(result.run.path).model.layers[0]
    assert (float(np.ravel(layer.mean)[0]), float(np.ravel(layer.variance)[0])) == pytest.approx((mean, variance))


def test_statistics_are_no_argument_of_the_user() -> None:
    with MODELS.override("normalized", normalized), pytest.raises(ConfigError, match="measured on the training split"):
        build_model(
            ModelConfig(model="normalized", model_args={"statistics": 1}), (8, 8, 1), 10, dtype_policy="float32"
        )
