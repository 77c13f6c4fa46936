"""The momentum of batch normalisation by the number of steps, so that a small folder is learned and validated."""

import pathlib
from typing import Any

import keras
import pytest

from dlexp.config.sections import ModelConfig
from dlexp.models import build_model
from dlexp.models.keras_internals import flatten_layers
from dlexp.training.batch_norm import choose_momentum, set_momentum, spread_momentum


def momenta(model: keras.Model) -> set[float]:
    return {layer.momentum for layer in flatten_layers(model) if isinstance(layer, keras.layers.BatchNormalization)}


@pytest.mark.parametrize(("steps", "momentum"), [(1, 0.5), (2, 0.5), (4, 0.75), (50, 0.98)])
def test_momentum_follows_the_steps_of_an_epoch(steps: int, momentum: float) -> None:
    assert choose_momentum(steps) == pytest.approx(momentum)


@pytest.mark.parametrize(
    ("name", "asked", "steps", "expected"),
    [
        ("resnet20", "auto", 4, 0.75),
        ("resnet20", "steps", 4, 0.75),
        ("resnet20", "keep", 4, 0.99),
        ("resnet20", "auto", 1000, 0.99),
        ("MobileNetV2", "auto", 4, 0.999),
        ("MobileNetV2", "steps", 4, 0.75),
    ],
)
def test_momentum_is_lowered_for_networks_that(name: str, asked: str, steps: int, expected: float) -> None:
    config = ModelConfig(model=name, batch_norm_momentum=asked)
    model = build_model(config, (32, 32, 3), 2, dtype_policy="float32")
    chosen = set_momentum(model, config, steps_per_epoch=steps)
    assert momenta(model) == {expected}
    assert chosen == (expected if expected == 0.75 else None)


def test_frozen_backbone_and_network_without_batch_normalisation_are_left_alone() -> None:
    frozen = ModelConfig(model="MobileNetV2", batch_norm_momentum="steps", freeze_backbone=True)
    model = build_model(frozen, (32, 32, 3), 2, dtype_policy="float32")
    assert set_momentum(model, frozen, steps_per_epoch=1) is None
    mlp = ModelConfig(model="mlp")
    assert set_momentum(build_model(mlp, (8, 8, 1), 2, dtype_policy="float32"), mlp, steps_per_epoch=1) is None


def test_momentum_of_micro_batches_is_that_of_the_batch_after_all_of_them() -> None:
    layers = [keras.layers.BatchNormalization(momentum=momentum) for momentum in (0.9, 0.5)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    assert spread_momentum(model, micro_batches=4) == pytest.approx(0.9**0.25)
    assert [layer.momentum**4 for layer in layers] == pytest.approx([0.9, 0.5])


def test_momentum_of_frozen_layers_is_that_of_the_batch() -> None:
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.BatchNormalization()])
    model.trainable = False
    assert spread_momentum(model, micro_batches=4) is None
    assert momenta(model) == {0.99}


def test_saved_network_has_the_momentum(tmp_path: pathlib.Path) -> None:
    config = ModelConfig(model="resnet20")
    model: Any = build_model(config, (8, 8, 1), 2, dtype_policy="float32")
    set_momentum(model, config, steps_per_epoch=4)
    model.save(tmp_path / "model.keras")
    assert momenta(keras.saving.load_model(tmp_path / "model.keras")) == {0.75}
