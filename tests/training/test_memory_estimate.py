"""The estimate of a training's memory: weights, gradients, optimizer and examples, by hand counts."""

from typing import Any

import keras
import numpy as np
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import ModelConfig
from dlexp.models import build_model
from dlexp.registry import OPTIMIZERS
from dlexp.training.memory_estimate import MemoryEstimate, count_bytes, estimate_memory, optimizer_variables
from dlexp.training.optimizers import build_optimizer

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_model(ModelConfig(model="mlp"), SHAPE, 10, dtype_policy="float32")


def estimate(model: keras.Model, **values: Any) -> MemoryEstimate:
    return estimate_memory(model, ExperimentConfig.of(**values), SHAPE, 10)


@pytest.mark.parametrize(
    ("values", "copies"),
    [
        ({"optimizer": "sgd"}, 3),
        ({"optimizer": "sgd", "optimizer_args": {"momentum": 0.0}}, 2),
        ({"optimizer": "adamw"}, 4),
        ({"optimizer": "adamw", "optimizer_args": {"amsgrad": True}}, 5),
        ({"optimizer": "adamw", "ema_decay": 0.99}, 5),
    ],
)
def test_weights_gradients_and_the_variables_of_the_optimizer_are_fixed(
    model: keras.Model, values: dict[str, Any], copies: int
) -> None:
    weights = sum(array.nbytes for array in model.get_weights())
    assert estimate(model, **values).fixed_bytes == copies * weights


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_an_optimizer_that_is_not_built_counts_nearly_as_much_as_one_that_is(model: keras.Model, name: str) -> None:
    config = ExperimentConfig.of(optimizer=name)
    optimizer = build_optimizer(config.optimization, model, steps_per_epoch=1)
    optimizer.build(model.trainable_variables)
    expected = 2 * count_bytes(model.trainable_variables) + count_bytes(optimizer.variables)
    assert 0.75 < estimate(model, optimizer=name).fixed_bytes / expected <= 1


def test_the_variables_of_a_compiled_model_count_as_they_are() -> None:
    model = build_model(ModelConfig(model="mlp"), SHAPE, 10, dtype_policy="float32")
    assert not optimizer_variables(model)
    model.compile(keras.optimizers.AdamW(use_ema=True))
    assert not optimizer_variables(model)
    model.optimizer.build(model.trainable_variables)
    built = sum(np.asarray(variable).nbytes for variable in model.optimizer.variables)
    assert estimate(model, optimizer="sgd").fixed_bytes == 2 * count_bytes(model.trainable_variables) + built


def test_frozen_weights_have_neither_gradients_nor_optimizer_variables() -> None:
    model = build_model(ModelConfig(model="mlp"), SHAPE, 10, dtype_policy="float32")
    for layer in model.layers[:-1]:
        layer.trainable = False
    head = count_bytes(model.trainable_variables)
    assert estimate(model, optimizer="sgd").fixed_bytes == count_bytes(model.variables) + 2 * head


def test_examples_need_their_images_and_labels_in_the_batch_and_in_the_two_ahead(model: keras.Model) -> None:
    assert estimate(model).waiting_bytes_per_example == 3 * (8 * 8 + 10 * 4)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size", "expected"),
    [(10, 0, 100 + 10 * 7), (10, 4, 100 + 4 * 7 + 6 * 2), (10, 16, 100 + 10 * 7), (0, 0, 100)],
)
def test_in_a_micro_batch_the_examples_that_wait_need_only_their_images(
    batch_size: int, micro_batch_size: int, expected: int
) -> None:
    estimated = MemoryEstimate(fixed_bytes=100, bytes_per_example=7, waiting_bytes_per_example=2)
    assert estimated.at(batch_size, micro_batch_size) == expected


def test_the_batch_size_of_the_config_changes_nothing(model: keras.Model) -> None:
    assert estimate(model, batch_size=8) == estimate(model, batch_size=512, micro_batch_size=64)
