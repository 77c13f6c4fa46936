"""The training loop, which can start at any step."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from dlexp.checkpoints.callback_state import set_callback_state
from dlexp.checkpoints.resume import ResumePoint, restore_metrics
from dlexp.datasets import Datasets
from dlexp.datasets.damage import naming_unreadable_images
from dlexp.errors import ConfigError
from dlexp.models.keras_internals import begin_steps, metrics_so_far, steps_per_call, take_steps, without_idle
from dlexp.runs.metric_names import ON_WHOLE_SPLITS
from dlexp.training.data_clock import DataClock
from dlexp.training.step_counter import StepCounter


def train_model(
    model: keras.Model,
    datasets: Datasets,
    *,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    clock: DataClock | None = None,
    steps: StepCounter | None = None,
    start: ResumePoint | None = None,
) -> None:
    """Trains for all epochs, from the first step or from a resume point.

    It calls the train function of the model and the callbacks as `fit` does, step for step. `fit` itself cannot start
    mid-epoch, nor between the last step of an epoch and its validation, and at its end it overwrites the weights with
    their moving averages.

    Args:
        model: compiled; if there is a `start`, restored by `restore_model`.
        datasets: training and validation batches.
        epochs: number of epochs of the whole training.
        callbacks: called in this order.
        clock: measures how long the training waits for data.
        steps: counts the steps of the model; it is set to the start.
        start: where to resume; None for a new training.

    Raises:
        DataError: an image can no longer be read; the error names it.
        ConfigError: the batch does not fit into memory.
    """
    hooks = keras.callbacks.CallbackList(
        list(callbacks), model=model, epochs=epochs, steps=datasets.steps_per_epoch, verbose=0
    )
    model.stop_training = False
    if steps is not None:
        steps.set(start.position.step if start else 0)
    hooks.on_train_begin()
    if start is not None:
        set_callback_state(callbacks, start.callback_state)
        model.stop_training = start.stopped
    try:
        with naming_unreadable_images(datasets.dataset):
            batches = datasets.train_dataset(start.position.step if start else 0)
            _run_epochs(
                model,
                datasets,
                clock.watch(batches) if clock else batches,
                epochs=epochs,
                hooks=hooks,
                start=start or ResumePoint(),
            )
    except tf.errors.ResourceExhaustedError as err:
        raise ConfigError(_out_of_memory(datasets)) from err
    hooks.on_train_end()


def _run_epochs(
    model: keras.Model,
    datasets: Datasets,
    train_dataset: Any,
    *,
    epochs: int,
    hooks: keras.callbacks.CallbackList,
    start: ResumePoint,
) -> None:
    batches = begin_steps(model, train_dataset)
    for epoch in range(start.position.epoch, epochs):
        if model.stop_training:
            break
        first_step = max(0, start.position.step - epoch * datasets.steps_per_epoch)
        model.reset_metrics()
        hooks.on_epoch_begin(epoch)
        if first_step:
            restore_metrics(model, start, num_classes=datasets.dataset.num_classes)
        logs: dict[str, Any] = {}
        for step in range(first_step, datasets.steps_per_epoch, steps_per_call(model)):
            hooks.on_train_batch_begin(step)
            logs = take_steps(model, batches)
            hooks.on_train_batch_end(step + steps_per_call(model) - 1, logs)
        train_logs = _train_logs(model, logs)
        val_logs = model.evaluate(datasets.validation, callbacks=hooks, return_dict=True, verbose=0)
        val_logs = without_idle(model, val_logs)
        if any(map(math.isnan, val_logs.values())):  # a custom step returns what its traced metrics gave
            val_logs = _over_all_batches(model, val_logs)
        hooks.on_epoch_end(epoch, train_logs | {f"val_{name}": value for name, value in val_logs.items()})


def _out_of_memory(datasets: Datasets) -> str:
    """What to do after an out-of-memory."""
    at_once, batch = datasets.evaluation_batch_size, datasets.batch_size
    fewer = f"give --micro_batch_size={at_once // 2} to train the same batches of {batch} in smaller slices, "
    return (
        f"training with {at_once} images at once does not fit into memory: {fewer if at_once > 1 else ''}find the "
        "batch size that fits with dlexp batch-size, or choose a smaller --image_size"
    )


def _train_logs(model: keras.Model, last_logs: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of the epoch, without those that are measured on whole splits only.

    `last_logs` is empty if a previous process took all steps of the epoch and was stopped during its validation.
    """
    logs = _over_all_batches(model, last_logs or metrics_so_far(model))
    return {name: value for name, value in logs.items() if name not in ON_WHOLE_SPLITS}


def _over_all_batches(model: keras.Model, last_logs: Mapping[str, Any]) -> dict[str, float]:
    """The metrics over all batches; of the last one those that only a custom step returns."""
    over_all = metrics_so_far(model)
    return without_idle(model, {name: float(over_all.get(name, value)) for name, value in last_logs.items()})
