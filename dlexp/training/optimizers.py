"""Keras optimizers by name, with decoupled weight decay on the weights that should have it."""

import inspect
import re
from typing import Any

import keras

from dlexp.config.sections import OptimizationConfig
from dlexp.errors import ConfigError, joined_lines, unknown_name
from dlexp.models.keras_internals import learning_rate_source, set_weight_decay, use_decay_variable
from dlexp.registry import OPTIMIZERS
from dlexp.training.schedules import WarmupThenDecay, build_schedule

_DEFAULT_ARGS: dict[str, dict[str, Any]] = {"sgd": {"momentum": 0.9}}
# Arguments of every Keras optimizer that fields of the config set.
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
    optimization: OptimizationConfig, model: keras.Model, *, steps_per_epoch: int
) -> keras.optimizers.Optimizer:
    """Makes the optimizer that a config describes; SGD has a momentum of 0.9 unless `optimizer_args` says otherwise.

    Weight decay is decoupled from the gradient (Loshchilov and Hutter, https://arxiv.org/abs/1711.05101), scaled with
    the learning rate, and spares biases, normalisation layers and all other vectors. Under mixed_float16,
    `model.compile` wraps the result in a LossScaleOptimizer by itself.

    Args:
        optimization: everything but the label smoothing is read.
        model: built; its variables are told apart by name and rank.
        steps_per_epoch: optimizer steps in an epoch, for the schedule.

    Returns:
        An optimizer that is not built yet.

    Raises:
        UnknownNameError: no such optimizer.
        ConfigError: the optimizer does not take these `optimizer_args`.
    """
    name = optimization.optimizer
    optimizer_class = _find_class(name)
    arguments = _DEFAULT_ARGS.get(name, {}) | dict(optimization.optimizer_args)
    _check_arguments(name, optimizer_class, arguments)
    if name == "muon":
        # Muon gives AdamW's update to what is no matrix, and a decay of its own with it.
        arguments |= {"adam_weight_decay": optimization.weight_decay}
        arguments.setdefault("exclude_layers", _patterns_muon_excludes(model))
    try:
        optimizer = optimizer_class(
            learning_rate=build_schedule(optimization, steps_per_epoch=steps_per_epoch),
            weight_decay=optimization.weight_decay,
            global_clipnorm=optimization.gradient_clip_norm or None,
            use_ema=optimization.ema_decay > 0,
            ema_momentum=optimization.ema_decay,
            **arguments,
        )
    except (TypeError, ValueError) as err:
        raise ConfigError(f"optimizer {name} refuses its arguments: {joined_lines(err)}") from err
    # Without decay all are left out: AdamW refuses None, and 0 would still cost operations at every step.
    decay = optimization.weight_decay > 0
    if decay and name != "muon":
        # A variable, as in the schedule, so that a traced training can be given another one.
        use_decay_variable(optimizer, optimization.weight_decay)
    spared = [variable for variable in model.trainable_variables if not (decay and _decays(variable))]
    optimizer.exclude_from_weight_decay(var_list=spared)
    return optimizer


def set_rates(optimizer: keras.optimizers.Optimizer, optimization: OptimizationConfig) -> None:
    """Gives an optimizer of `build_optimizer` another learning rate and weight decay, also where it is traced already.

    Args:
        optimizer: of a config that differs in these alone; with weight decay where there was one, without where not.
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
    by_lower = {each.lower(): getattr(keras.optimizers, each) for each in dir(keras.optimizers)}
    return by_lower[name.replace("_", "")]


def _check_arguments(name: str, optimizer_class: type[keras.optimizers.Optimizer], arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(optimizer_class).parameters
    known = {each: parameter.default for each, parameter in parameters.items() if each not in _NOT_ARGUMENTS}
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
    """Whether weight decay applies: to kernels, not to vectors, nor to the biases of attention, which have rank 2."""
    return len(variable.shape) > 1 and variable.name not in _SPARED


def _patterns_muon_excludes(model: keras.Model) -> list[str]:
    """Paths that Muon is not meant for (https://arxiv.org/abs/2502.16982): the last matrix, and biases of rank 2."""
    matrices = [each for each in model.trainable_variables if len(each.shape) == 2 and _decays(each)]
    return [f"/({'|'.join(_SPARED)})$", *(f"^{re.escape(matrix.path)}$" for matrix in matrices[-1:])]
