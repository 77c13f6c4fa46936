"""The training loop, and how many steps one call of the compiled function takes."""

import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import pytest
import tensorflow as tf

from dlexp.checkpoints.files import weights_digest
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import ExecutionConfig
from dlexp.errors import ConfigError
from dlexp.training.compiling import choose_steps_per_execution, use_threads
from dlexp.training.loop import train_model
from dlexp.training.preparation import prepare
from tests.support.own_methods import train, variant


def choose(
    asked: str,
    *,
    steps_per_epoch: int,
    num_parameters: int = 30_000,
    batch_values: int = 4096,
    acts_every: Sequence[int] = (),
) -> int:
    return choose_steps_per_execution(
        ExecutionConfig(steps_per_execution=asked),
        steps_per_epoch=steps_per_epoch,
        num_parameters=num_parameters,
        batch_values=batch_values,
        acts_every=acts_every,
    )


@pytest.mark.parametrize(("steps_per_epoch", "expected"), [(20, 20), (64, 32), (66, 22), (37, 1), (1, 1)])
def test_small_model_takes_the_largest_divisor_of_the_epoch_up_to_32(steps_per_epoch: int, expected: int) -> None:
    assert choose("auto", steps_per_epoch=steps_per_epoch) == expected


def test_large_model_or_batch_takes_one_step() -> None:
    assert choose("auto", steps_per_epoch=20, num_parameters=10_000_000) == 1
    assert choose("auto", steps_per_epoch=20, batch_values=64 * 224 * 224 * 3) == 1


@pytest.mark.parametrize(("acts_every", "expected"), [([5], 5), ([6], 5), ([30, 4], 4), ([1], 1)])
def test_calls_end_where_a_point_or_a_checkpoint_is_due(acts_every: list[int], expected: int) -> None:
    assert choose("auto", steps_per_epoch=20, acts_every=acts_every) == expected


def test_number_that_was_asked_for_is_taken() -> None:
    assert choose("5", steps_per_epoch=20, num_parameters=10_000_000) == 5


def test_number_that_does_not_divide_the_epoch_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match="does not divide the 20 steps of an epoch: use 1, 2, 4, 5, 10, 20"):
        choose("3", steps_per_epoch=20)


def test_threads_that_come_too_late_are_refused() -> None:
    keras.ops.zeros(1)  # TensorFlow runs from here on
    use_threads(0)
    with pytest.raises(ConfigError, match="num_threads=3 cannot be set any more"):
        use_threads(3)


def test_loop_gives_what_fit_gives() -> None:
    config = ExperimentConfig.of(
        model="small_cnn", model_args={"dropout": 0.3}, augment=("crop", "mixup"), lr_schedule="cosine", epochs=2
    )
    ours, keras_own = prepare(config), prepare(config)
    history = keras.callbacks.History()
    train_model(ours.model, ours.datasets, epochs=2, callbacks=[history])
    by_fit = keras_own.model.fit(
        keras_own.datasets.train_dataset(),
        steps_per_epoch=keras_own.datasets.steps_per_epoch,
        validation_data=keras_own.datasets.validation,
        epochs=2,
        verbose=0,
    )
    assert history.history == by_fit.history
    assert weights_digest(ours.model.get_weights()) == weights_digest(keras_own.model.get_weights())


class RunsOutOfMemory(keras.callbacks.Callback):
    """Fails as TensorFlow does on a GPU."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"batch_size": 96}, "training with 96 images at once .*--micro_batch_size=48 .* same batches of 96 in"),
        ({"batch_size": 96, "micro_batch_size": 5}, "training with 5 images .*_size=2 to train the same batches of 96"),
        ({"batch_size": 1}, "with 1 images at once does not fit into memory: find the batch size that fits with dlexp"),
    ],
)
def test_out_of_memory_names_what_helps(sizes: dict[str, int], message: str) -> None:
    setup = prepare(ExperimentConfig.of(model="mlp", epochs=1, **sizes))
    with pytest.raises(ConfigError, match=message) as caught:
        train_model(setup.model, setup.datasets, epochs=1, callbacks=[RunsOutOfMemory()])
    assert "dlexp batch-size" in str(caught.value)


def test_a_step_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    setup = prepare(ExperimentConfig.of(dataset="digits", model="mlp", epochs=1, verbose=0))
    traced = []
    train_step = setup.model.train_step

    def count(data: Any) -> Any:
        traced.append(data)
        return train_step(data)

    monkeypatch.setattr(setup.model, "train_step", count)
    train_model(setup.model, setup.datasets, epochs=1, callbacks=[])
    assert len(traced) == 1


def takes_a_step(model: keras.Model, data: Any) -> Any:
    images, labels = data
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = keras.ops.mean(keras.losses.categorical_crossentropy(labels, logits, from_logits=True))
    model.optimizer.apply(tape.gradient(loss, model.trainable_variables))
    return {**model.compute_metrics(images, labels, logits), "distance": loss}


def test_loss_that_a_train_step_does_not_measure_is_not_recorded_as_zero(
    quick_database: None, tmp_path: pathlib.Path
) -> None:
    keys = set(train(variant(train_step=takes_a_step), tmp_path, log_every_steps=4).points()["key"])
    assert {"distance", "accuracy", "steps/accuracy", "val_loss"} <= keys
    assert not {"loss", "steps/loss"} & keys
