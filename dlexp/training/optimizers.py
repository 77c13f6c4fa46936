"""Builds Keras optimizers by name; decoupled weight decay applies to kernels only."""

import inspect
import re
from typing import Any

import keras

from dlexp.config.sections import OptimizationConfig
from dlexp.errors import ConfigError, joined_lines, unknown_name
from dlexp.models.keras_internals import learning_rate_source, set_weight_decay, use_decay_variable
from dlexp.registry import OPTIMIZERS
from dlexp.training.schedules import WarmupThenDecay, build_schedule
from dlexp.training.step_counter import StepCounter

_DEFAULT_ARGS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}}
# Arguments of Keras optimizers that are set by a field of the config, by the name of the argument.
_FIELDS = {
    "learning_rate": "learning_rate",
    "weight_decay": "weight_decay",
    "adam_weight_decay": "weight_decay",
    "global_clipnorm": "gradient_clip_norm",
    "use_ema": "ema_decay",
    "ema_momentum": "ema_decay",
    "ema_overwrite_frequency": "ema_decay",
}
_NOT_ARGUMENTS = {"kwargs", "name"}
_SPARED = ("bias", "beta", "gamma")


def build_optimizer(
    optimization: OptimizationConfig, model: keras.Model, *, steps_per_epoch: int, steps: StepCounter | None = None
) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a config; SGD has a momentum of 0.9 unless `optimizer_args` sets another.

    Weight decay is decoupled from the gradient (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101), scaled with
    the learning rate, and leaves out biases, normalisation layers and all other vectors. Under mixed_float16,
    `model.compile` wraps the result in a LossScaleOptimizer by itself.

    Args:
        optimization: all fields but `label_smoothing` are read.
        model: built; the name and rank of a variable decide whether it decays.
        steps_per_epoch: training steps in an epoch, for the schedule.
        steps: counts the steps of the model, for the schedule.

    Returns:
        The optimizer, not built yet.

    Raises:
        UnknownNameError: no such optimizer.
        ConfigError: the optimizer does not take these `optimizer_args`.
    """
    name = optimization.optimizer
    optimizer_class = _find_class(name)
    arguments = _DEFAULT_ARGS.get(name, {}) | dict(optimization.optimizer_args)
    _check_arguments(name, optimizer_class, arguments)
    if name == "muon":
        # Muon applies AdamW to all that is no matrix, with a separate weight decay.
        arguments |= {"adam_weight_decay": optimization.weight_decay}
        arguments.setdefault("exclude_layers", _patterns_muon_excludes(model))
    try:
        optimizer = optimizer_class(
            learning_rate=build_schedule(optimization, steps_per_epoch=steps_per_epoch, steps=steps),
            weight_decay=optimization.weight_decay,
            global_clipnorm=optimization.gradient_clip_norm or None,
            use_ema=optimization.ema_decay > 0,
            ema_momentum=optimization.ema_decay,
            **arguments,
        )
    except (TypeError, ValueError) as err:
        raise ConfigError(f"optimizer {name} refuses its arguments: {joined_lines(err)}") from err
    # Without decay all variables are excluded: AdamW refuses None, and 0 would still cost operations at every step.
    decay = optimization.weight_decay > 0
    if decay and name != "muon":
        # A variable, as in the schedule, so that its value can change after tracing.
        use_decay_variable(optimizer, optimization.weight_decay)
    spared = [variable for variable in model.trainable_variables if not (decay and _decays(variable))]
    optimizer.exclude_from_weight_decay(var_list=spared)
    return optimizer


def set_rates(optimizer: keras.optimizers.Optimizer, optimization: OptimizationConfig) -> None:
    """Sets another learning rate and weight decay in an optimizer from `build_optimizer`, even if it is traced.

    Args:
        optimizer: of a config that differs only in these two, and has weight decay if and only if the new one has.
        optimization: of the new config.
    """
    source = learning_rate_source(optimizer)
    if isinstance(source, WarmupThenDecay):
        source.learning_rate = optimization.learning_rate
    else:
        optimizer.learning_rate = optimization.learning_rate
    set_weight_decay(optimizer, optimization.weight_decay)


def _find_class(name: str) -> type[keras.optimizers.Optimizer]:
    if name not in OPTIMIZERS:
        raise unknown_name("optimizer", name, OPTIMIZERS)
    by_lower = {member.lower(): getattr(keras.optimizers, member) for member in dir(keras.optimizers)}
    return by_lower[name.replace("_", "")]


def _check_arguments(name: str, optimizer_class: type[keras.optimizers.Optimizer], arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(optimizer_class).parameters
    known = {key: parameter.default for key, parameter in parameters.items() if key not in _NOT_ARGUMENTS}
    for argument, value in arguments.items():
        if argument in _FIELDS:
            raise ConfigError(f"optimizer_args cannot hold {argument}: set {_FIELDS[argument]}")
        if argument not in known:
            choices = known.keys() - _FIELDS.keys()
            raise ConfigError(f"optimizer_args of {name}: {unknown_name('argument', argument, choices)}")
        # Keras would only fail at the first step.
        if isinstance(known[argument], (int, float)) and not isinstance(value, (int, float)):
            raise ConfigError(f"optimizer_args of {name}: {argument}={value!r} must be a number")


def _decays(variable: keras.Variable) -> bool:
    """Whether weight decay applies: to kernels, but not to vectors, nor to biases of attention, which have rank 2."""
    return len(variable.shape) > 1 and variable.name not in _SPARED


def _patterns_muon_excludes(model: keras.Model) -> list[str]:
    """Patterns of the paths that Muon should leave to AdamW: the last matrix and biases of rank 2.

    See https://arxiv.org/abs/2502.16982.
    """
    matrices = [variable for variable in model.trainable_variables if len(variable.shape) == 2 and _decays(variable)]
    return [f"/({'|'.join(_SPARED)})$", *(f"^{re.escape(matrix.path)}$" for matrix in matrices[-1:])]
