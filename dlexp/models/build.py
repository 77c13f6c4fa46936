"""Builds a model by its name, and checks that it keeps the contract of `registry.register_model`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from dlexp.config.sections import ModelConfig
from dlexp.errors import ConfigError, DlexpError, ModelError, joined_lines, unknown_name
from dlexp.models.contract import check_contract, describe_error
from dlexp.models.probe import trace_call
from dlexp.models.settings import use_settings
from dlexp.registry import MODELS


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and variance of the pixels of a training split, for each channel, in units of pixels in [0, 255].

    Attributes:
        mean: one number for each channel.
        variance: one number for each channel.
    """

    mean: tuple[float, ...]
    variance: tuple[float, ...]


def build_model(
    model: ModelConfig,
    input_shape: tuple[int, int, int],
    num_classes: int,
    *,
    dtype_policy: str,
    statistics: Callable[[], ChannelStatistics] | None = None,
    check: bool = True,
) -> keras.Model:
    """Builds the model that a config names. Set Keras' seed first: layers draw their seeds while they are built.

    A model of a plug-in is checked: it is called on a few random images, as `check_contract` says.

    Args:
        model: name, arguments of the builder, and whether the backbone is frozen.
        input_shape: (height, width, channels).
        num_classes: number of logits.
        dtype_policy: Keras precision policy of the layers, such as "float32" or "mixed_bfloat16".
        statistics: measures the pixels of the training split; called if the builder has an argument `statistics`.
        check: whether a model of a plug-in is checked; False if the same builder was checked with the same arguments.

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
    if "statistics" in inspect.signature(builder).parameters:
        arguments["statistics"] = _measure(model.model, statistics)
    shape = tuple(input_shape)
    try:
        with use_settings(dtype_policy):
            built = builder(shape, num_classes, **arguments)
    except (DlexpError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as err:
        reason = joined_lines(err) if MODELS.is_builtin(model.model) else describe_error(err, builder)
        raise ModelError(
            f"model {model.model} cannot be built for images of {'x'.join(map(str, shape))} with "
            f"model_args={dict(model.model_args)}: {reason}"
        ) from err
    if MODELS.is_builtin(model.model):
        return built
    with use_settings(dtype_policy):  # a layer may make others in its build()
        if check:
            check_contract(model.model, built, builder, shape, num_classes)
        elif not built.built:
            trace_call(built, shape, training=True)
    return built


def _measure(name: str, statistics: Callable[[], ChannelStatistics] | None) -> ChannelStatistics:
    if statistics is None:
        raise ModelError(f"model {name} needs the statistics of a training split: give build_model statistics")
    return statistics()


def _check_arguments(builder: Callable[..., Any], model: ModelConfig) -> dict[str, Any]:
    """Returns the builder's arguments after shape and classes, from model_args and freeze_backbone."""
    parameters = list(inspect.signature(builder).parameters.values())[2:]
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    known = {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_KEYWORD}
    known.discard("statistics")
    arguments = dict(model.model_args)
    if "statistics" in arguments:
        raise ConfigError("model_args cannot contain statistics: they are measured on the training split")
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
