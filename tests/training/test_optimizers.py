"""Optimizers by name: what decays, what is refused, what is switched on."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest

from dlexp.config.sections import OptimizationConfig
from dlexp.errors import ConfigError, UnknownNameError
from dlexp.models.resnet import build_resnet
from dlexp.models.vit import build_vit_tiny
from dlexp.registry import OPTIMIZERS
from dlexp.training.optimizers import build_optimizer

layers = keras.layers


def build(name: str, model: Any = None, **fields: Any) -> Any:
    optimization = OptimizationConfig(optimizer=name, **{"learning_rate": 0.1, **fields})
    return build_optimizer(optimization, model or build_dense_model(), steps_per_epoch=10)


def build_dense_model() -> Any:
    return keras.Sequential([layers.Input((4,)), layers.Dense(3), layers.Dense(2, name="logits")])


def step_without_gradients(optimizer: Any, model: Any) -> dict[str, Any]:
    """One step with gradients of 0, from weights of 1: what moves, moves by decay. Returns the weights by path."""
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    gradients = [np.zeros(variable.shape, "float32") for variable in model.trainable_variables]
    optimizer.apply(gradients, model.trainable_variables)
    return {variable.path: variable.numpy() for variable in model.trainable_variables}


def is_spared(path: str) -> bool:
    return path.rpartition("/")[2] in ("bias", "beta", "gamma")


def test_the_registry_lists_every_optimizer_of_keras() -> None:
    wrappers = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}
    offered = {
        name.lower() for name, _ in inspect.getmembers(keras.optimizers, inspect.isclass) if name not in wrappers
    }
    assert {name.replace("_", "") for name in OPTIMIZERS} == offered


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_moves_the_weights(name: str) -> None:
    model = build_dense_model()
    optimizer = build(name, model, weight_decay=0.01, gradient_clip_norm=1.0, ema_decay=0.9)
    before = model.get_weights()
    for _ in range(2):
        optimizer.apply([np.ones(item.shape, "float32") for item in before], model.trainable_variables)
    assert type(optimizer).__name__.lower() == name.replace("_", "")
    for weight, value in zip(model.get_weights(), before, strict=True):
        assert np.isfinite(weight).all()
        assert not np.array_equal(weight, value)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion", "muon"])
@pytest.mark.parametrize(
    "model",
    [build_resnet((8, 8, 1), 3, depth=8, width=4), build_vit_tiny((8, 8, 1), 3, width=8, depth=1, heads=2)],
    ids=["batch normalisation", "attention"],
)
def test_decay_shrinks_kernels_and_spares_biases_and_normalisation(name: str, model: Any) -> None:
    after = step_without_gradients(build(name, model, weight_decay=0.5), model)
    assert any(is_spared(path) for path in after)
    for path, value in after.items():
        np.testing.assert_allclose(value, 1 if is_spared(path) else 1 - 0.1 * 0.5, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_without_weight_decay_nothing_shrinks(name: str) -> None:
    model = build_dense_model()
    for path, value in step_without_gradients(build(name, model), model).items():
        np.testing.assert_array_equal(value, 1, err_msg=path)


def test_muon_leaves_the_output_matrix_and_embeddings_to_adamw() -> None:
    model = build_vit_tiny((8, 8, 1), 3, width=8, depth=1, heads=2)
    optimizer = build("muon", model)
    matrices = [variable.path for variable in model.trainable_variables if not optimizer._should_use_adamw(variable)]
    assert len(matrices) == 2  # the two dense layers of the block
    assert not any("logits" in path or "embedding" in path for path in matrices)


def test_excluded_layers_of_muon_can_be_given() -> None:
    assert build("muon", optimizer_args={"exclude_layers": ["dense"]}).exclude_layers == ["dense"]


def test_sgd_has_momentum_unless_told_otherwise() -> None:
    assert build("sgd").momentum == 0.9
    assert build("sgd", optimizer_args={"momentum": 0.5, "nesterov": True}).momentum == 0.5


def test_learning_rate_follows_the_schedule() -> None:
    model = build_dense_model()
    optimizer = build("sgd", model, lr_schedule="cosine", epochs=1)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    for _ in range(5):
        step_without_gradients(optimizer, model)
    assert float(optimizer.learning_rate) == pytest.approx(0.05)


def test_gradients_are_clipped_to_a_global_norm() -> None:
    model = build_dense_model()
    optimizer = build("sgd", model, gradient_clip_norm=2.0, learning_rate=1.0, optimizer_args={"momentum": 0.0})
    before = model.get_weights()
    optimizer.apply([np.full(item.shape, 9.0, "float32") for item in before], model.trainable_variables)
    moved = np.concatenate([(one - other).ravel() for one, other in zip(model.get_weights(), before, strict=True)])
    assert np.linalg.norm(moved) == pytest.approx(2.0, rel=1e-5)


def test_moving_average_is_kept_and_never_written_back_by_itself() -> None:
    optimizer = build("adamw", ema_decay=0.99)
    assert (optimizer.use_ema, optimizer.ema_momentum, optimizer.ema_overwrite_frequency) == (True, 0.99, None)
    assert not build("adamw").use_ema


def test_compile_scales_the_loss_under_mixed_float16() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_dense_model()
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(build("sgd", model))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)


def test_unknown_optimizer_lists_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer 'adammw': did you mean adamw"):
        build("adammw")


def test_unknown_argument_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="optimizer_args of sgd: unknown argument 'momentun': did you mean momentum"):
        build("sgd", optimizer_args={"momentun": 0.5})


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_arguments_that_are_fields_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="optimizer_args cannot hold weight_decay: set weight_decay"):
        build(name, optimizer_args={"weight_decay": 0.1})


def test_argument_that_must_be_a_number_is_checked_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="optimizer_args of adam: beta_1='high' must be a number"):
        build("adam", optimizer_args={"beta_1": "high"})


def test_argument_that_keras_refuses_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"optimizer sgd refuses its arguments: .*clipnorm"):
        build("sgd", gradient_clip_norm=1.0, optimizer_args={"clipnorm": 1.0})
