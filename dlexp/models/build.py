"""Builds a model by its name, and checks that it keeps the contract of `registry.register_model`."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras

from dlexp.config.sections import ModelConfig
from dlexp.errors import ConfigError, DlexpError, ModelError, joined_lines, unknown_name
from dlexp.models.keras_internals import LAMBDA, find_custom_objects
from dlexp.registry import MODELS


def build_model(
    model: ModelConfig, input_shape: tuple[int, int, int], num_classes: int, *, dtype_policy: str
) -> keras.Model:
    """Builds the model that a config names. Set Keras' seed first: layers draw their seeds while they are built.

    Args:
        model: name, arguments of the builder, and whether the backbone is frozen.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        dtype_policy: Keras precision policy of the layers, such as "float32" or "mixed_bfloat16".

    Returns:
        An uncompiled model from raw pixels in [0, 255] `(batch, height, width, channels)`, of any dtype, to logits
        `(batch, num_classes)`.

    Raises:
        UnknownNameError: no model of that name.
        ConfigError: the builder does not take these arguments.
        ModelError: the builder fails on them, or what it returns breaks the contract.

    Example:
        >>> build_model(ModelConfig(model="resnet20"), (32, 32, 3), 10, dtype_policy="float32").output_shape
        (None, 10)
    """
    builder = MODELS.get(model.model)
    arguments = _check_arguments(builder, model)
    shape = tuple(input_shape)
    try:
        with _use_dtype_policy(dtype_policy):
            built = builder(shape, num_classes, **arguments)
    except DlexpError:
        raise
    except (ArithmeticError, TypeError, ValueError) as err:
        raise ModelError(
            f"model {model.model} cannot be built for images of {'x'.join(map(str, shape))} with "
            f"model_args={dict(model.model_args)}: {joined_lines(err)}"
        ) from err
    _check_contract(model.model, built, shape, num_classes)
    return built


def custom_layers(model: keras.Model) -> list[str]:
    """Returns the names of the classes and functions in a model that Keras cannot load by itself.

    Returns:
        Sorted names: "my_plugin.Swish", or "package>Swish" if registered so; empty if plain `keras.saving.load_model`
        opens the saved model.

    Raises:
        NotImplementedError: a layer cannot be saved because it has no `get_config`.
    """
    return sorted(set(find_custom_objects(keras.saving.serialize_keras_object(model))))


def _check_arguments(builder: Callable[..., Any], model: ModelConfig) -> dict[str, Any]:
    """Returns the builder's arguments after shape and classes, from model_args and freeze_backbone."""
    parameters = list(inspect.signature(builder).parameters.values())[2:]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
    arguments = dict(model.model_args)
    if "freeze_backbone" in arguments:
        raise ConfigError("model_args cannot contain freeze_backbone: set the field freeze_backbone instead")
    for name in arguments:
        if name not in known and not takes_any:
            choices = known - {"freeze_backbone"}
            raise ConfigError(f"model_args of {model.model}: {unknown_name('argument', name, choices)}")
    if model.freeze_backbone:
        if "freeze_backbone" not in known:
            raise ConfigError(
                f"freeze_backbone is for the models of keras.applications, but the model is {model.model}: leave it out"
            )
        arguments["freeze_backbone"] = True
    return arguments


@contextlib.contextmanager
def _use_dtype_policy(name: str) -> Iterator[None]:
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _check_contract(name: str, model: Any, input_shape: tuple[int, ...], num_classes: int) -> None:
    """Raises ModelError, naming the builder, for a model that would fail later, or silently give wrong results."""
    if not isinstance(model, keras.Model):
        raise ModelError(f"the builder of model {name} must return a keras.Model, but returned {type(model).__name__}")
    if model.compiled:
        raise ModelError(f"the builder of model {name} must return an uncompiled model: leave compile() out")
    shape = _output_shape(model, input_shape)
    if shape != (None, num_classes):
        raise ModelError(
            f"the builder of model {name} must return logits (batch, {num_classes}), but its output has the shape "
            f"{shape}: end with a Dense of num_classes units"
        )
    if model.layers and getattr(model.layers[-1], "activation", None) is keras.activations.softmax:
        raise ModelError(f"model {name} ends with a softmax, but must return logits: leave that activation out")
    try:
        custom = custom_layers(model)
    except NotImplementedError as err:
        raise ModelError(f"model {name} could not be saved: {joined_lines(err)}") from err
    if LAMBDA in custom:
        raise ModelError(
            f"model {name} contains a Python lambda, which no file can store safely: write it as a layer, or as a "
            "function with @keras.saving.register_keras_serializable()"
        )
    unregistered = [custom_name for custom_name in custom if ">" not in custom_name]
    if unregistered:
        raise ModelError(
            f"model {name} contains {', '.join(unregistered)}, which Keras cannot load from a checkpoint: put "
            "@keras.saving.register_keras_serializable() above each definition"
        )


def _output_shape(model: keras.Model, input_shape: tuple[int, ...]) -> tuple[int | None, ...]:
    if hasattr(model, "output_shape"):
        return tuple(model.output_shape)
    # A subclass of keras.Model, or a Sequential without an Input, is built by its first call.
    return tuple(model(keras.KerasTensor((None, *input_shape))).shape)
