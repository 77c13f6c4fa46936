"""Checks that a model keeps the contract of `registry.register_model`, before any data is read."""

import inspect
import pathlib
import re
import sysconfig
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from dlexp.errors import ModelError, joined_lines
from dlexp.models.keras_internals import LAMBDA, find_custom_objects
from dlexp.models.probe import (
    disturb,
    find_change,
    predict,
    predict_by_default,
    probe_images,
    recorded_outputs,
    trace_call,
    unchanged,
)
from dlexp.models.randomness import python_states

_OVER_ONE = 1e-3  # a sum of probabilities in half precision is not exactly 1
_OF_ROUNDING = 0.05  # of the largest logit, in half precision too
_COPIES, _CALLS = 8, 50  # to find what is drawn in one call of a hundred
_LARGE_DRAWS = 4
_LARGE = 30.0
_COLOR_CODES = re.compile(r"\x1b\[[0-9;]*m")  # Keras emphasizes a part of its messages
_PACKAGE = str(pathlib.Path(__file__).parents[1])


def check_contract(
    name: str, model: Any, builder: Callable[..., Any], input_shape: Sequence[int], num_classes: int
) -> None:
    """Raises ModelError for a model that would fail later, or silently give wrong results; builds a model if necessary.

    A model with code of a plug-in is traced as the first step of a training and of a validation trace it; for a
    functional model of Keras' own layers, Keras has inferred its outputs already. Then the model is called on a few
    random images, also with other weights; afterwards all of its variables have their previous values.

    Args:
        name: of the model, for messages.
        model: what the builder returned.
        builder: of a plug-in.
        input_shape: (height, width, channels) that the builder was given.
        num_classes: that the builder was given.
    """
    check_kind(name, model)
    _check_ends(name, model, input_shape)
    custom = _custom_objects(name, model)
    call = None
    if custom or not getattr(model, "outputs", None):
        for training in (True, False):
            call = _trace(name, model, input_shape, training=training)
            _check_output(name, call.structured_outputs, num_classes)
    else:
        _check_output(name, model.outputs[0], num_classes)
    _check_registered(name, custom, builder)
    _check_values(name, model, call, input_shape)


def custom_layers(model: keras.Model) -> list[str]:
    """Returns the names of the classes and functions in a model that Keras cannot load by itself.

    Returns:
        Sorted names: "my_plugin.Swish", or "package>Swish" if registered so; empty if plain `keras.saving.load_model`
        opens the saved model.

    Raises:
        NotImplementedError: a layer cannot be saved because it has no `get_config`.
    """
    return sorted(set(find_custom_objects(keras.saving.serialize_keras_object(model))))


def check_kind(name: str, model: Any) -> None:
    """Raises ModelError if the builder returned no uncompiled Keras model."""
    if not isinstance(model, keras.Model):
        raise ModelError(f"the builder of model {name} must return a keras.Model, but returned {type(model).__name__}")
    if model.compiled:
        way = ", or return keras.Model(model.inputs[0], model.outputs[0])" if getattr(model, "inputs", None) else ""
        raise ModelError(
            f"the builder of model {name} must return an uncompiled model, but returned a compiled "
            f"{type(model).__name__}: leave compile() out{way}"
        )


def check_output_shape(name: str, shape: Sequence[int | None], num_classes: int) -> None:
    """Raises ModelError if an output shape is not (None, num_classes)."""
    if tuple(shape) == (None, num_classes):
        return
    if tuple(shape[1:]) == (num_classes,):
        raise ModelError(
            f"model {name} returns batches of {shape[0]} only, but the last batch of an epoch may be smaller: make no "
            "use of a fixed batch size in its layers"
        )
    raise ModelError(
        f"the builder of model {name} must return logits (batch, {num_classes}), but its output has the shape "
        f"{tuple(shape)}: end with a Dense of num_classes units"
    )


def _check_ends(name: str, model: keras.Model, input_shape: Sequence[int]) -> None:
    """Checks inputs and outputs of a model that knows them before a call: a functional or a built Sequential one."""
    inputs, outputs = (keras.tree.flatten(getattr(model, end, None) or []) for end in ("inputs", "outputs"))
    for end, tensors in (("inputs", inputs), ("outputs", outputs)):
        if len(tensors) > 1:
            raise ModelError(
                f"model {name} has {len(tensors)} {end} ({', '.join(tensor.name for tensor in tensors)}), but must "
                f"have one: give keras.Model one {end[:-1]}"
            )
    if not inputs:
        return
    batch, *size = inputs[0].shape
    if batch is not None:
        raise ModelError(
            f"model {name} takes batches of {batch} only, but the last batch of an epoch may be smaller: leave "
            "batch_size out of keras.Input"
        )
    fits = len(size) == len(input_shape) and all(
        side in (None, given) for side, given in zip(size, input_shape, strict=True)
    )
    if not fits:
        raise ModelError(
            f"model {name} takes images of shape {tuple(size)}, but the builder was given "
            f"input_shape={tuple(input_shape)}: give keras.Input that input_shape"
        )


def _check_output(name: str, output: Any, num_classes: int) -> None:
    """Checks what the model returns; of a tensor, its shape and dtype count."""
    if not hasattr(output, "shape"):
        listed = list(output) if isinstance(output, dict) else f"{len(output)} values"
        raise ModelError(
            f"model {name} must return one tensor of logits, but returns a {type(output).__name__} of {listed}: "
            "return the logits alone"
        )
    check_output_shape(name, output.shape, num_classes)
    dtype = keras.backend.standardize_dtype(output.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise ModelError(f"model {name} must return logits, but returns {dtype}: return floating-point numbers")


def _trace(name: str, model: keras.Model, input_shape: Sequence[int], *, training: bool) -> Any:
    try:
        return trace_call(model, input_shape, training=training)
    except Exception as err:
        raise call_error(name, input_shape, err) from err


def call_error(name: str, input_shape: Sequence[int], err: BaseException) -> ModelError:
    """Makes the error of a model that fails on a batch."""
    hint = (
        ": the images are uint8, cast them first, with keras.layers.Rescaling"
        if "uint8" in str(err).partition("Arguments received")[0]
        else ""
    )
    return ModelError(
        f"model {name} cannot be called on images (batch, {', '.join(map(str, input_shape))}): "
        f"{describe_error(err, None)}{hint}"
    )


def describe_error(err: BaseException, builder: Callable[..., Any] | None) -> str:
    """Describes an exception of a model's code: its class, its message, and the file and line it comes from.

    The line is the innermost one outside of installed packages; for an exception without such a line it is where the
    builder is defined.
    """
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(err.__traceback__)]
    own = [(file, line) for file, line in frames if not _is_installed(file)]
    if not own and builder is not None and (code := getattr(inspect.unwrap(builder), "__code__", None)):
        own = [(code.co_filename, code.co_firstlineno)]
    where = f" ({own[-1][0]}, line {own[-1][1]})" if own else ""
    return f"{type(err).__name__}: {_COLOR_CODES.sub('', joined_lines(err))}{where}"


def _is_installed(file: str) -> bool:
    """Returns whether a file belongs to Python, an installed package or dlexp, and not to a plug-in."""
    roots = {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")} | {_PACKAGE}
    return file.startswith("<") or any(pathlib.Path(file).is_relative_to(root) for root in roots)


def _custom_objects(name: str, model: keras.Model) -> list[str]:
    """Returns the names of classes and functions that are not Keras' own, sorted."""
    try:
        return custom_layers(model)
    except NotImplementedError as err:
        raise ModelError(f"model {name} could not be saved: {joined_lines(err)}") from err


def _check_registered(name: str, custom: Sequence[str], builder: Callable[..., Any]) -> None:
    """Raises ModelError if Keras cannot load one of the custom objects of a model."""
    if LAMBDA in custom:
        raise ModelError(
            f"model {name} contains a Python lambda, which no file can store safely: write it as a layer, or as a "
            "function with @keras.saving.register_keras_serializable()"
        )
    unregistered = [custom_name for custom_name in custom if ">" not in custom_name]
    if not unregistered:
        return
    own = getattr(builder, "__module__", "").partition(".")[0]
    of_package = next((custom_name for custom_name in unregistered if custom_name.partition(".")[0] != own), None)
    if of_package is None or "." not in of_package:
        way = "put @keras.saving.register_keras_serializable() above each definition"
    else:
        way = (
            "register each in the plug-in, as in keras.saving.register_keras_serializable("
            f'"{of_package.partition(".")[0]}")({of_package})'
        )
    raise ModelError(
        f"model {name} contains {', '.join(unregistered)}, which Keras cannot load from a checkpoint: {way}"
    )


def _check_values(name: str, model: keras.Model, call: Any, input_shape: Sequence[int]) -> None:
    """Checks the values that the model returns: logits, the same ones in each call and batch, and no probabilities.

    Args:
        name: of the model.
        model: built.
        call: what `trace_call` returned; None for a functional model of Keras' own layers, which do not draw at
            inference.
        input_shape: (height, width, channels).
    """
    images = probe_images(input_shape)
    with unchanged(model):
        try:
            logits = _check_inference(name, model, call, images)
            in_training = predict(model, images, training=True)
        except ModelError:
            raise
        except Exception as err:
            raise call_error(name, input_shape, err) from err
        drawn = _draw_outputs(model, images) if _are_in_unit_range(logits) else []
    many = np.repeat(images, _COPIES, axis=0)
    if call is not None and find_change(call, many, calls=_CALLS):
        raise _random_error(name, f"some calls return other logits{_random_layer(model, many)}")
    if _are_probabilities(in_training) or (drawn and all(map(_are_probabilities, [logits, *drawn[:1]]))):
        raise ModelError(f"model {name} ends with a softmax, but must return logits: leave that activation out")
    if len(drawn) > 1 and all(_are_in_unit_range(values) for values in [logits, *drawn]):
        raise ModelError(
            f"model {name} returns values in [0, 1], as a sigmoid at its end does, but must return logits: leave that "
            "activation out"
        )


def _check_inference(name: str, model: keras.Model, call: Any, images: np.ndarray) -> np.ndarray:
    """Checks that an image has the same logits in each call, in validation and in each batch; returns them."""
    states = python_states(model)
    logits, again = predict(model, images), predict(model, images)
    if not np.array_equal(logits, again, equal_nan=True):
        differ = f"two calls on the same images return different logits{_random_layer(model, images)}"
        raise _random_error(name, differ)
    if python_states(model) != states:
        raise _random_error(name, "its call draws from Python's random or from NumPy")
    by_default = predict_by_default(model, images)
    if by_default is not None and not np.array_equal(logits, by_default, equal_nan=True):
        raise ModelError(
            f"model {name} acts in validation as in training, because its call has no argument training: write "
            "call(self, inputs, training=None), and pass training on to its layers"
        )
    alone = (predict(model, images[:1]) if call is None else np.asarray(call(images[:1]), np.float32))[0]
    most = _OF_ROUNDING * np.max(np.abs(logits), initial=0, where=np.isfinite(logits))
    if not np.allclose(logits[0], alone, rtol=0, atol=most, equal_nan=True):
        raise ModelError(
            f"model {name} returns other logits for an image if other images are in its batch: let each image be "
            "computed by itself if training is false, with moving averages in place of those of the batch"
        )
    return logits


def _random_error(name: str, what: str) -> ModelError:
    return ModelError(f"model {name} is random at inference: {what}: let it draw only if training is true")


def _draw_outputs(model: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """Returns the logits with disturbed weights, then with large random weights if some are trainable."""
    weights = [weight.numpy() for weight in model.weights]
    model.set_weights(disturb(weights, seed=0))
    outputs = [predict(model, images)]
    generator = np.random.default_rng(0)
    for _ in range(_LARGE_DRAWS if model.trainable_variables else 0):
        for variable in model.trainable_variables:
            values = generator.standard_normal(4099).astype(np.float32) * _LARGE
            variable.assign(np.resize(values, variable.shape))
        outputs.append(predict(model, images))
    return outputs


def _are_probabilities(values: np.ndarray) -> bool:
    return _are_in_unit_range(values) and bool(np.allclose(values.sum(axis=1), 1, atol=_OVER_ONE))


def _are_in_unit_range(values: np.ndarray) -> bool:
    return bool(np.all((values >= 0) & (values <= 1 + _OVER_ONE)) and np.any(values > 0))


def _random_layer(model: keras.Model, images: np.ndarray) -> str:
    first = recorded_outputs(model, images)
    for _ in range(_CALLS):
        for (layer, outputs), (_, others) in zip(first, recorded_outputs(model, images), strict=False):
            if not all(map(partial(np.array_equal, equal_nan=True), outputs, others)):
                return f", the first in layer {layer.name} ({type(layer).__name__})"
    return ""
