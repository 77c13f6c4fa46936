"""A batch trained in slices gives what the whole batch gives."""

import functools
import math
import pathlib
import signal
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import DataConfig
from dlexp.errors import ConfigError, ModelError
from dlexp.models.keras_internals import begin_steps, count_updates, flatten_layers, moving_averages, take_steps
from dlexp.registry import LOSSES, MODELS
from dlexp.training.loop import train_model
from dlexp.training.micro_batches import count_micro_batches
from dlexp.training.preparation import Setup, prepare
from tests.support import killing
from tests.support.networks import Base, Subclassed, registered
from tests.support.own_methods import variant

SUPPORT = pathlib.Path(__file__).parents[1] / "support"
BASE: dict[str, Any] = {
    "dataset": "digits", "model": "small_cnn", "model_args": {"filters": [8, 8], "dropout": 0}, "batch_size": 128,
    "optimizer": "sgd", "learning_rate": 0.05, "epochs": 2, "steps_per_execution": "1", "log_every_steps": 1,
    "histograms": True, "verbose": 0,
}  # fmt: skip
VIT = {"model": "vit_tiny", "model_args": {"width": 32, "depth": 2}}
SIZES = (64, 50, 7)  # 128 examples in slices of 64; of 42 and 43; of 6 and 7


def prepared(**values: Any) -> Setup:
    return prepare(ExperimentConfig.of(**BASE | values))


def take_step(setup: Setup, data: Any = None) -> dict[str, float]:
    """Takes a step, by default the first one of the training; returns what it logs."""
    batches = setup.datasets.train_dataset() if data is None else tf.data.Dataset.from_tensors(data)
    return {name: float(value) for name, value in take_steps(setup.model, begin_steps(setup.model, batches)).items()}


def first_gradients(**values: Any) -> list[np.ndarray]:
    """The gradients that the optimizer receives in the first step."""
    setup = prepared(**values)
    take_step(setup)
    return list(setup.meters.gradients.gradients().values())


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    """The norm of the difference, relative to the norm."""
    flat, compared = (np.concatenate([np.ravel(item).astype(np.float64) for item in items]) for items in (one, other))
    return float(np.linalg.norm(flat - compared) / np.linalg.norm(compared))


def train(**values: Any) -> tuple[keras.Model, dict[str, list[float]]]:
    """Trains for two epochs of 10 steps; the last step of an epoch has 106 examples."""
    setup, history = prepared(**values), keras.callbacks.History()
    assert setup.datasets.total_steps == 20
    train_model(setup.model, setup.datasets, epochs=2, callbacks=[history], steps=setup.meters.steps)
    return setup.model, history.history


@pytest.mark.parametrize("network", [{}, VIT, {"optimizer": "adamw", "class_weights": "balanced"}], ids=str)
def test_gradients_are_those_of_the_whole_batch(network: dict[str, Any]) -> None:
    whole = first_gradients(**network)
    for size in SIZES:
        assert distance(first_gradients(**network, micro_batch_size=size), whole) < 1e-6, size


CASES: list[dict[str, Any]] = [
    {},
    {"lr_schedule": "cosine", "gradient_clip_norm": 0.5, "ema_decay": 0.9, "weight_decay": 0.01},
    {"class_weights": "balanced", "loss": "focal", "label_smoothing": 0.1, "augment": ("mixup",)},
    {"steps_per_execution": "5"},
]


@functools.cache
def train_whole(case: int) -> tuple[keras.Model, dict[str, list[float]]]:
    return train(**CASES[case])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("case", range(len(CASES)), ids=[str(case) for case in CASES])
def test_weights_averages_and_metrics_after_20_steps_are_those_of_whole_batches(case: int, size: int) -> None:
    (whole, expected), (sliced, history) = train_whole(case), train(**CASES[case], micro_batch_size=size)
    assert distance(sliced.get_weights(), whole.get_weights()) < 2e-6
    if CASES[case].get("ema_decay"):
        averages = [[item.numpy() for item in moving_averages(model.optimizer)] for model in (sliced, whole)]
        assert distance(*averages) < 2e-6
    assert list(history) == list(expected)
    for name, values in expected.items():
        assert history[name] == pytest.approx(values, abs=1e-5), name


def test_weights_of_slices_compiled_with_xla_are_those_of_whole_batches() -> None:
    (whole, _), (sliced, _) = (train(jit_compile="true", micro_batch_size=size) for size in (0, 50))
    assert distance(sliced.get_weights(), whole.get_weights()) < 2e-6


def test_number_of_steps_in_a_call_changes_no_bit() -> None:
    one, five = (train(micro_batch_size=50, steps_per_execution=steps)[0].get_weights() for steps in ("1", "5"))
    assert all(map(np.array_equal, one, five))


def test_gradient_norm_and_metrics_of_a_step_are_those_of_the_whole_batch() -> None:
    whole, sliced = prepared(), prepared(micro_batch_size=50)
    assert take_step(sliced) == pytest.approx(take_step(whole), rel=1e-6)
    assert sliced.meters.gradients.norm() == pytest.approx(whole.meters.gradients.norm(), rel=1e-6)
    assert sliced.meters.steps.taken() == 1
    assert count_updates(sliced.model.optimizer) == 1


@pytest.mark.parametrize(
    ("examples", "jit_compile"), [*((examples, "auto") for examples in (1, 3, 4, 5, 9)), (1, "true"), (9, "true")]
)
def test_batch_of_any_size_is_trained_as_a_whole(examples: int, jit_compile: str) -> None:
    images, labels = next(iter(prepared().datasets.train_dataset()))
    gradients = []
    for size in (0, 4):
        setup = prepared(micro_batch_size=size, jit_compile=jit_compile)
        take_step(setup, (images[:examples], labels[:examples]))
        gradients.append(list(setup.meters.gradients.gradients().values()))
    assert distance(*gradients) < 1e-6


@pytest.mark.parametrize(
    ("policy", "tolerance"), [("mixed_float16", 2e-3), ("float16", 2e-3), ("mixed_bfloat16", 4e-3), ("bfloat16", 4e-3)]
)
def test_many_slices_in_half_precision_differ_by_no_more_than_its_rounding(policy: str, tolerance: float) -> None:
    whole, sliced = (first_gradients(dtype_policy=policy, micro_batch_size=size) for size in (0, 2))
    assert distance(sliced, whole) < tolerance


def test_overflow_in_one_slice_skips_the_update_of_the_step_once() -> None:
    setup = prepared(dtype_policy="mixed_float16", micro_batch_size=32)
    images, labels = next(iter(setup.datasets.train_dataset()))
    before = setup.model.get_weights()
    scale = float(setup.model.optimizer.dynamic_scale.numpy())
    take_step(setup, (images, np.where(np.arange(128)[:, None] == 3, np.inf, labels)))
    assert all(map(np.array_equal, setup.model.get_weights(), before))
    assert float(setup.model.optimizer.dynamic_scale.numpy()) == scale / 2
    assert math.isinf(setup.meters.gradients.norm())
    assert setup.meters.steps.taken() == 1


def test_a_step_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[bool] = []
    with MODELS.override("variant", lambda shape, num_classes: Subclassed(num_classes)):
        setup = prepared(model="variant", model_args={}, micro_batch_size=50)
    call = setup.model.call

    def count(images: Any, training: bool) -> Any:
        traced.append(training)
        return call(images, training)

    monkeypatch.setattr(setup.model, "call", count)
    train_model(setup.model, setup.datasets, epochs=1, callbacks=[])
    assert traced == [True, False]  # for the training, and for the validation


# Batch normalisation.


def momenta(model: keras.Model) -> set[float]:
    return {layer.momentum for layer in flatten_layers(model) if isinstance(layer, keras.layers.BatchNormalization)}


def test_moving_statistics_after_a_step_are_those_that_numpy_computes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    labels = np.eye(10, dtype=np.float32)[np.arange(12) % 10]

    def build(shape: Any, num_classes: int) -> keras.Model:
        layers = keras.layers
        inner = [layers.Rescaling(1 / 255), layers.BatchNormalization(momentum=0.8), layers.Flatten()]
        return keras.Sequential([keras.Input(shape), *inner, layers.Dense(num_classes)])

    with MODELS.override("variant", build):
        setup = prepared(model="variant", model_args={}, batch_size=12, micro_batch_size=4)
    take_step(setup, (pixels, labels))
    mean, variance, momentum = 0.0, 1.0, 0.8 ** (1 / 3)
    for part in np.split(pixels.astype(np.float64) / 255, 3):
        mean = momentum * mean + (1 - momentum) * part.mean()
        variance = momentum * variance + (1 - momentum) * part.var()
    layer = setup.model.layers[1]
    assert float(layer.moving_mean[0]) == pytest.approx(mean, rel=1e-5)
    assert float(layer.moving_variance[0]) == pytest.approx(variance, rel=1e-5)
    assert setup.facts["micro_batches"] == 3
    assert setup.facts["batch_norm_momentum_of_micro_batches"] == pytest.approx(momentum)


def test_checkpoints_hold_the_momentum_of_a_whole_batch() -> None:
    setup = prepared(model="resnet20", model_args={}, micro_batch_size=32)
    assert setup.facts["batch_norm_momentum_chosen"] == 0.9
    assert momenta(setup.portable.model) == {0.9}
    assert momenta(setup.model) == {0.9**0.25}


def test_statistics_of_frozen_layers_stay() -> None:
    frozen = {"model": "MobileNetV2", "model_args": {}, "freeze_backbone": True, "image_size": (32, 32)}
    setup = prepared(**frozen, micro_batch_size=64)
    assert momenta(setup.model) == {0.999}
    assert "batch_norm_momentum_of_micro_batches" not in setup.facts


# Which trainings have slices.


@pytest.mark.parametrize(("batch", "size", "expected"), [(64, 0, 1), (64, 64, 1), (64, 32, 2), (64, 30, 3), (5, 1, 5)])
def test_a_batch_has_as_few_slices_as_possible(batch: int, size: int, expected: int) -> None:
    assert count_micro_batches(DataConfig(batch_size=batch, micro_batch_size=size)) == expected


def test_micro_batch_of_the_whole_batch_changes_no_bit() -> None:
    assert all(map(np.array_equal, first_gradients(micro_batch_size=128), first_gradients()))
    assert "micro_batches" not in prepared(micro_batch_size=128).facts


# Models with their own methods.


def own_step(self: keras.Model, data: Any, apply: Callable[..., Any]) -> Any:
    images, labels = data
    with tf.GradientTape() as tape:
        logits = self(images, training=False)
        loss = self.compute_loss(y=labels, y_pred=logits)
    apply(tape.gradient(loss, self.trainable_variables))
    return {**self.compute_metrics(images, labels, logits), "loss": loss, "spread": keras.ops.mean(logits**2)}


def applies(self: keras.Model, data: Any) -> Any:
    return own_step(self, data, self.optimizer.apply)


def applies_pairs(self: keras.Model, data: Any) -> Any:
    def apply(gradients: Any) -> None:
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))

    return own_step(self, data, apply)


def trains_the_head(self: keras.Model, data: Any) -> Any:
    def apply(gradients: Any) -> None:
        self.optimizer.apply(gradients[2:], self.trainable_variables[2:])

    return own_step(self, data, apply)


def without_some_gradients(self: keras.Model, data: Any) -> Any:
    return own_step(self, data, lambda gradients: self.optimizer.apply([None, None, *gradients[2:]]))


def prepared_with(own: Any, **values: Any) -> Setup:
    kind = own if isinstance(own, type) else variant(train_step=own)
    with MODELS.override("variant", lambda shape, num_classes: kind(num_classes)):
        return prepared(model="variant", model_args={}, **values)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("own", [applies, applies_pairs, trains_the_head, without_some_gradients])
def test_own_step_gives_what_it_gives_for_the_whole_batch(own: Any) -> None:
    whole, sliced = (prepared_with(own, histograms=False, micro_batch_size=size) for size in (0, 50))
    assert take_step(sliced) == pytest.approx(take_step(whole), rel=1e-5)
    assert distance(sliced.model.get_weights(), whole.model.get_weights()) < 1e-7


def test_sparse_gradients_are_added() -> None:
    def build(shape: Any, num_classes: int) -> keras.Model:
        layers = keras.layers
        inner = [layers.Flatten(), layers.Embedding(256, 2), layers.Flatten(), layers.Dense(num_classes)]
        return keras.Sequential([keras.Input(shape), *inner])

    with MODELS.override("variant", build):
        own = {"model": "variant", "model_args": {}}
        assert distance(first_gradients(**own, micro_batch_size=50), first_gradients(**own)) < 1e-6


def updates_twice(self: keras.Model, data: Any) -> Any:
    keras.Model.train_step(self, data)
    return keras.Model.train_step(self, data)


def updates_by_hand(self: keras.Model, data: Any) -> Any:
    def apply(gradients: Any) -> None:
        for variable, gradient in zip(self.trainable_variables, gradients, strict=True):
            variable.assign_sub(0.1 * gradient)

    return own_step(self, data, apply)


def uses_the_inner_optimizer(self: keras.Model, data: Any) -> Any:
    return own_step(self, data, self.optimizer.inner_optimizer.apply)


@registered
class TwoOptimizers(Base):
    """Trains its last layer with another optimizer."""

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.other = keras.optimizers.SGD()

    def train_step(self, data: Any) -> Any:
        def apply(gradients: Any) -> None:
            self.optimizer.apply(gradients[:2], self.trainable_variables[:2])
            self.other.apply(gradients[2:], self.trainable_variables[2:])

        return own_step(self, data, apply)


@registered
class Eager(Base):
    """Runs without a graph."""

    def compile(self, **given: Any) -> None:
        super().compile(**given, run_eagerly=True)


@pytest.mark.parametrize(
    ("own", "values", "reason"),
    [
        (updates_twice, {}, r"calls self.optimizer.apply or apply_gradients 2 times, and micro-batches need one"),
        (updates_by_hand, {}, r"calls self.optimizer.apply or apply_gradients 0 times, and micro-batches need one"),
        (TwoOptimizers, {}, "train_step of model variant uses another optimizer than self.optimizer"),
        (uses_the_inner_optimizer, {"dtype_policy": "mixed_float16"}, "uses another optimizer than self.optimizer"),
        (Eager, {"jit_compile": "false"}, "model variant runs eagerly, and micro-batches need a traced step"),
    ],
)
def test_step_that_would_update_for_every_slice_is_refused(own: Any, values: dict[str, Any], reason: str) -> None:
    setup = prepared_with(own, **values, micro_batch_size=50)
    with pytest.raises(ModelError, match=reason):
        take_step(setup)


def test_loss_that_is_a_sum_is_refused() -> None:
    def build(num_classes: int) -> keras.losses.Loss:
        return keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum")

    with LOSSES.override("total", build):
        prepared(loss="total")
        with pytest.raises(ConfigError, match="has reduction='sum', and micro-batches need the mean over the examples"):
            prepared(loss="total", micro_batch_size=50)


# Resume.


@pytest.mark.parametrize("own", [{"model": "own_step"}, {"model": "batchnorm_net", "lr_schedule": "cosine"}], ids=str)
def test_killed_training_resumes_within_an_epoch_bit_for_bit(own: dict[str, Any], tmp_path: pathlib.Path) -> None:
    values: dict[str, Any] = {
        "plugins": ("tests.support.networks", str(SUPPORT / "batchnorm_model.py")), "epochs": 2, "batch_size": 128,
        "micro_batch_size": 48, "learning_rate": 0.01, "verbose": 0, "save_every_steps": 2, "steps_per_execution": "1",
        "ema_decay": 0.9, "tensorboard": False, "evaluation_report": False, "sample_pictures": False,
    } | own  # fmt: skip
    reference = killing.train(values | {"store": str(tmp_path / "whole")})
    killed = values | {"store": str(tmp_path / "killed")}
    assert killing.finish(killing.start_training(killed, crash_at="write:3")) == -signal.SIGKILL
    assert killing.differences(killing.train(killed), reference) == []
    assert reference.record()["micro_batches"] == 3
