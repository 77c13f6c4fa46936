"""Calls a model to see what it does: a traced call as training makes it, or calls on a few random images."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dlexp.machine.random_sources import find_stateful_operations, keeping_python_random
from dlexp.models.keras_internals import (
    flatten_layers,
    get_global_seed,
    global_seed_states,
    set_global_seed,
    without_idle,
)

_IMAGES = 4


def trace_call(model: keras.Model, input_shape: Sequence[int], *, training: bool) -> Any:
    """Traces a call on a batch of any size, as the first step of a training does; builds a model that is not built.

    Nothing is computed: the values of variables stay the same.

    Args:
        model: takes images.
        input_shape: (height, width, channels).
        training: as the model gets it.

    Returns:
        The traced function. Its `structured_outputs` have the shapes and dtypes of what the model returns; its
        `graph.variables` are those that it uses.
    """
    call = tf.function(lambda images: model(images, training=training), autograph=False)
    return call.get_concrete_function(tf.TensorSpec((None, *input_shape), tf.uint8))


def find_change(call: Any, images: np.ndarray, *, calls: int) -> bool:
    """Returns whether repeated calls on the same images give different logits; the variables are put back.

    Args:
        call: what `trace_call` returned.
        images: as `probe_images` returns them.
        calls: how often to call, if the first one changes a variable or the graph draws.
    """
    variables = call.graph.variables
    before = [variable.numpy() for variable in variables]
    try:
        first = call(images).numpy()
        kept = all(map(partial(np.array_equal, equal_nan=True), before, [variable.numpy() for variable in variables]))
        if kept and not any(find_stateful_operations(call.graph)):
            return False
        return any(not np.array_equal(call(images).numpy(), first, equal_nan=True) for _ in range(calls))
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def validate_once(model: keras.Model, input_shape: Sequence[int], num_classes: int) -> dict[str, float]:
    """Calls the `test_step` of a compiled model on a few random images, and returns the metrics that it measures."""
    images, labels = probe_images(input_shape), np.eye(num_classes, dtype=np.float32)[np.arange(_IMAGES) % num_classes]
    step = tf.function(
        lambda x, y: model.test_step((x, y)),
        input_signature=[tf.TensorSpec((None, *input_shape), tf.uint8), tf.TensorSpec((None, num_classes), tf.float32)],
        autograph=False,
    )
    with unchanged(model):
        measured = step.get_concrete_function()(images, labels)
        if not isinstance(measured, dict):
            raise TypeError(f"it returns a {type(measured).__name__}, and must return a dict of numbers by name")
        values = {name: np.asarray(keras.ops.convert_to_numpy(value)) for name, value in measured.items()}
        for name, value in values.items():
            if value.shape != ():
                raise TypeError(f"it returns {name} of shape {value.shape}, and must return one number")
        measured = without_idle(model, {name: float(value) for name, value in values.items()})
    model.reset_metrics()
    return measured


def probe_images(input_shape: Sequence[int]) -> np.ndarray:
    """Returns a few random images, the same ones every time: `uint8` `(4, height, width, channels)`."""
    return np.random.default_rng(0).integers(0, 256, (_IMAGES, *input_shape), dtype=np.uint8)


def predict(model: keras.Model, images: np.ndarray, *, training: bool = False) -> np.ndarray:
    """Returns the logits of images, by default without dropout; `float32` `(n, num_classes)`."""
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(model(images, training=training), "float32")))


def predict_by_default(model: keras.Model, images: np.ndarray) -> np.ndarray | None:
    """Returns the logits as validation computes them if the call has no `training`; None if it has, as `predict`."""
    if "training" in inspect.signature(model.call).parameters:
        return None
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(model(images), "float32")))


@contextlib.contextmanager
def unchanged(model: keras.Model) -> Iterator[None]:
    """Restores all variables of a model after the block, and the random numbers of Keras, Python and NumPy."""
    variables = [*model.variables, *global_seed_states()]
    before = [variable.numpy() for variable in variables]
    seed = get_global_seed()
    try:
        with keeping_python_random():
            yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)
        set_global_seed(seed)


def disturb(weights: Sequence[np.ndarray], *, seed: int) -> list[np.ndarray]:
    """Returns weights with noise, so that no zero that a training starts from hides a part of the network.

    The noise is uniform in [0, 0.1): variances stay positive. Weights that are no floating-point numbers stay the same.
    """
    noise = np.random.default_rng(seed).uniform(0, 0.1, 4099).astype(np.float32)
    return [
        weight + np.resize(noise, weight.shape).astype(weight.dtype) if weight.dtype.kind == "f" else weight
        for weight in weights
    ]


@contextlib.contextmanager
def watched_calls(
    model: keras.Model, watch: Callable[[keras.layers.Layer], contextlib.AbstractContextManager[Any]]
) -> Iterator[None]:
    """Enters a context around each call of each layer within a model, during the block."""
    layers = flatten_layers(model)

    def add(layer: keras.layers.Layer) -> None:
        call = layer.call

        @functools.wraps(call)
        def watched_call(*args: Any, **kwargs: Any) -> Any:
            with watch(layer) as note:
                outputs = call(*args, **kwargs)
                if note is not None:
                    note(outputs)
            return outputs

        layer.__dict__["call"] = watched_call

    for layer in layers:
        add(layer)
    try:
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)


def recorded_outputs(model: keras.Model, images: np.ndarray) -> list[tuple[keras.layers.Layer, list[np.ndarray]]]:
    """Returns what every layer within a model returns for images, without dropout, in the order in which they end."""
    records: list[tuple[keras.layers.Layer, list[np.ndarray]]] = []

    def record(layer: keras.layers.Layer, outputs: Any) -> None:
        records.append((layer, [np.asarray(output) for output in keras.tree.flatten(outputs)]))

    with watched_calls(model, lambda layer: contextlib.nullcontext(partial(record, layer))):
        model(images, training=False)
    return records
