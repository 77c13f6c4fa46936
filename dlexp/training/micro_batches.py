"""Trains a batch in slices, its micro-batches: a step goes through all of them, and updates the weights once.

The gradients of the slices are added, weighted by their share of the batch, so that the optimizer receives the gradient
of the whole batch: learning rate schedule, clipping, moving averages, points and checkpoints see one step. Keras'
`gradient_accumulation_steps` does not: schedules and moving averages then count slices.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from dlexp.config.sections import DataConfig
from dlexp.errors import ConfigError, ModelError
from dlexp.models.keras_internals import collecting_gradients, inner_optimizer, metric_results, wrap_train_step

_MEANS = ("sum_over_batch_size", "mean")
_HALVES = (tf.float16, tf.bfloat16)
Step = Callable[[Any], Any]
# The number of slices, and a function from the number of one to its tensors.
Loop = tuple[Any, Callable[[Any], tuple[Any, ...]]]


def count_micro_batches(data: DataConfig) -> int:
    """Returns in how many slices a step takes a whole batch; 1: it takes the batch at once."""
    return -(-data.batch_size // (data.micro_batch_size or data.batch_size))


def use_micro_batches(model: keras.Model, name: str, *, size: int) -> None:
    """Makes the training step of a model go through its batch in slices, as equal as possible.

    The step of the model is traced once and called for each slice. What it does other than compute gradients and
    metrics, it does once for each slice: random numbers are drawn, and moving statistics move.

    Args:
        model: compiled; its train function is not made yet.
        name: of the model, for errors.
        size: the most examples in a slice.

    Raises:
        ConfigError: the loss of a batch is not the mean over its examples.
        ModelError: while the step is traced, if it updates weights otherwise than once and with `model.optimizer`.
    """
    if (reduction := getattr(model.loss, "reduction", _MEANS[0])) not in _MEANS:
        raise ConfigError(
            f"the loss of a batch has reduction={reduction!r}, and micro-batches need the mean over the examples: give "
            f"the loss reduction={_MEANS[0]!r}, or leave out micro_batch_size"
        )
    wrap_train_step(model, functools.partial(_sliced_step, model, name, size))


def _sliced_step(model: keras.Model, name: str, size: int, train_step: Step, data: Sequence[Any]) -> dict[str, Any]:
    if tf.executing_eagerly():
        raise ModelError(
            f"model {name} runs eagerly, and micro-batches need a traced step: leave out run_eagerly or "
            "micro_batch_size"
        )
    variables: list[Any] = []

    def step_of_slice(*part: Any) -> tuple[Mapping[int, Any], Mapping[str, Any]]:
        with _collecting(model, name) as calls:
            logs = train_step(part)
        gradients, variables[:] = calls[0][0], calls[0][1] or model.trainable_variables
        present = {number: gradient for number, gradient in enumerate(gradients) if gradient is not None}
        # Not as IndexedSlices, which cannot be added up.
        dense = {number: tf.convert_to_tensor(gradient) for number, gradient in present.items()}
        for number, gradient in dense.items():
            gradient.set_shape(variables[number].shape)
        return dense, {key: tf.cast(value, tf.float32) for key, value in logs.items()}

    specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in data]
    traced = tf.function(step_of_slice, autograph=False).get_concrete_function(*specs)
    gradients, means = _mean_over_slices(traced, data, _cut(data, size, sizes_are_fixed=model.jit_compile))
    model.optimizer.apply([gradients.get(number) for number in range(len(variables))], variables)
    return _logs(model, means)


@contextlib.contextmanager
def _collecting(model: keras.Model, name: str) -> Iterator[list[Any]]:
    """Collects the only call of `apply`; raises ModelError after the block if there were others."""
    owned = [value for value in vars(model).values() if isinstance(value, keras.optimizers.Optimizer)]
    others = {id(item): item for item in (*owned, inner_optimizer(model.optimizer)) if item is not model.optimizer}
    with contextlib.ExitStack() as stack:
        calls = stack.enter_context(collecting_gradients(model.optimizer))
        by_others = [stack.enter_context(collecting_gradients(other)) for other in others.values()]
        yield calls
    if any(by_others):
        raise ModelError(
            f"train_step of model {name} uses another optimizer than self.optimizer, which would update weights for "
            "every micro-batch: leave out micro_batch_size"
        )
    if len(calls) != 1:
        raise ModelError(
            f"train_step of model {name} calls self.optimizer.apply or apply_gradients {len(calls)} times, and "
            "micro-batches need one call: give it all gradients at once, or leave out micro_batch_size"
        )


def _cut(data: Sequence[Any], size: int, *, sizes_are_fixed: bool) -> list[Loop]:
    """Cuts a batch into as few slices as possible whose sizes differ by at most one.

    Args:
        data: tensors `(batch, ...)`.
        size: the most examples in a slice.
        sizes_are_fixed: XLA compiles a loop only for slices of one size: there is then one loop for the smaller ones,
            and one for those with an example more.
    """
    batch = tf.shape(data[0])[0]
    slices = (batch + size - 1) // size
    if not sizes_are_fixed:
        return [(slices, lambda i: tuple(item[i * batch // slices : (i + 1) * batch // slices] for item in data))]
    rows, larger = batch // slices, batch % slices
    smaller = slices - larger
    # XLA compiles a loop without slices too, and needs a tensor of its shape: it has one slice.
    blocks, rows_of_block = tf.maximum(larger, 1), rows + tf.minimum(larger, 1)
    firsts = [_blocks(item[: smaller * rows], smaller, rows) for item in data]
    lasts = [_blocks(item[batch - blocks * rows_of_block :], blocks, rows_of_block) for item in data]
    return [
        (smaller, lambda i: tuple(item[i] for item in firsts)),
        (larger, lambda i: tuple(item[i] for item in lasts)),
    ]


def _blocks(tensor: Any, blocks: Any, rows: Any) -> Any:
    return tf.reshape(tensor, (blocks, rows, *tensor.shape[1:]))


def _mean_over_slices(
    step: Any, data: Sequence[Any], loops: Sequence[Loop]
) -> tuple[Mapping[int, Any], Mapping[str, Any]]:
    """Calls a traced step for each slice; returns the mean of what it returns over the examples of the batch."""
    total = tf.cast(tf.shape(data[0])[0], tf.float32)
    sums = tf.nest.map_structure(
        lambda output: tf.zeros(output.shape, tf.float32 if output.dtype in _HALVES else output.dtype),
        step.structured_outputs,
    )
    for count, part in loops:
        _, sums = tf.while_loop(
            lambda i, _, count=count: i < count,
            functools.partial(_add_slice, step, part, total),
            (tf.constant(0), sums),
            parallel_iterations=1,  # more would hold the activations of several slices
        )
    return tf.nest.map_structure(lambda item, output: tf.cast(item, output.dtype), sums, step.structured_outputs)


def _add_slice(step: Any, part: Callable[[Any], tuple[Any, ...]], total: Any, i: Any, sums: Any) -> tuple[Any, Any]:
    tensors = part(i)
    share = tf.cast(tf.shape(tensors[0])[0], tf.float32) / total

    def add(item: Any, value: Any) -> Any:
        return item + tf.cast(share, item.dtype) * tf.cast(value, item.dtype)

    return i + 1, tf.nest.map_structure(add, sums, step(*tensors))


def _logs(model: keras.Model, means: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics, which have seen all slices; of what the step returns besides them the mean over the examples.

    A metric that is 0 may be one that the step does not update, see `without_idle`.
    """
    results = metric_results(model)
    return {
        name: tf.where(results[name] == 0, mean, tf.cast(results[name], tf.float32)) if name in results else mean
        for name, mean in means.items()
    }
