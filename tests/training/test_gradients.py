"""Norms of gradients and weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.training.gradients import GradientWatch, weight_norm
from dlexp.training.preparation import prepare
from dlexp.training.step_counter import StepCounter

IMAGES, TARGETS = np.arange(12, dtype=np.float32).reshape(4, 3), np.ones((4, 2), np.float32)


def build_linear(**settings: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1, **settings), keras.losses.MeanSquaredError())
    return model


def watch_gradients(model: keras.Model, **settings: int) -> GradientWatch:
    steps = StepCounter()
    steps.watch(model)
    return GradientWatch(model, steps, **settings)  # type: ignore[arg-type]


def true_gradients(model: keras.Model) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(IMAGES) - TARGETS) ** 2)
    return [item.numpy() for item in tape.gradient(loss, model.trainable_variables)]


@pytest.mark.parametrize("settings", [{}, {"global_clipnorm": 0.5}])
def test_gradient_norm_is_that_of_the_step_before_clipping(settings: dict[str, float]) -> None:
    model = build_linear(**settings)
    expected = np.sqrt(sum(np.sum(gradient**2) for gradient in true_gradients(model)))
    watch = watch_gradients(model, steps_per_epoch=1)
    assert np.isnan(watch.norm())
    model.fit(IMAGES, TARGETS, batch_size=4, verbose=0)
    assert watch.norm() == pytest.approx(expected, rel=1e-5)


def test_gradients_that_are_kept_are_those_of_the_last_step_of_the_epoch() -> None:
    model = build_linear()
    watch = watch_gradients(model, steps_per_epoch=2, keep=True)
    model.fit(IMAGES, TARGETS, batch_size=4, epochs=1, verbose=0)
    expected = true_gradients(model)
    assert watch.gradients() == {}
    model.fit(IMAGES, TARGETS, batch_size=4, epochs=1, verbose=0)
    assert list(watch.gradients()) == [variable.path for variable in model.trainable_variables]
    for kept, gradient in zip(watch.gradients().values(), expected, strict=True):
        np.testing.assert_allclose(kept, gradient, rtol=1e-5)


def test_gradients_of_a_step_that_updates_some_weights_in_its_own_order_are_kept_with_their_weights() -> None:
    class TwoLayers(keras.Sequential):
        def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
            inputs, targets = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(inputs, training=True) - targets) ** 2)
            *_, kernel, bias = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, [bias, kernel]), [bias, kernel])
            return {"loss": loss}

    keras.utils.set_random_seed(0)
    model = TwoLayers([keras.layers.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    model.compile(keras.optimizers.SGD(0.1))
    model.optimizer.build(model.trainable_variables)
    expected = true_gradients(model)
    watch = watch_gradients(model, steps_per_epoch=1, keep=True)
    model.fit(IMAGES, TARGETS, batch_size=4, verbose=0)
    for kept, gradient in zip(
        watch.gradients().values(), [0 * expected[0], 0 * expected[1], *expected[2:]], strict=True
    ):
        np.testing.assert_allclose(kept, gradient, rtol=1e-5)


def test_gradient_norm_of_mixed_precision_is_not_scaled() -> None:
    norms = []
    for dtype_policy in ("float32", "mixed_float16"):
        values = {"model": "mlp", "epochs": 1, "dtype_policy": dtype_policy, "steps_per_execution": "1"}
        setup = prepare(ExperimentConfig.of(**values, log_every_steps=1))
        setup.model.make_train_function()
        setup.model.train_function(iter(setup.datasets.train_dataset()))
        norms.append(setup.meters.gradients.norm())
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


def test_weight_norm_is_over_all_trainable_weights() -> None:
    model = build_linear()
    kernel, bias = model.get_weights()
    assert weight_norm(model) == pytest.approx(np.sqrt(np.sum(kernel**2) + np.sum(bias**2)), rel=1e-6)
