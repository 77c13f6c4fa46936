"""Networks that stay traced from one trial to the next: where two configs trace the same, only values are exchanged.

TensorFlow takes most of a short training to trace it. A trial whose config differs from a former one in what is no part
of the traced graph (seed, learning rate, weight decay, what is recorded) takes that one's network, with the weights,
the optimizer and the data of its own: bit for bit what a fresh process would give. Whatever else differs is built and
traced anew.

TensorFlow's own seed goes into what is traced, and setting it has all functions optimized again before their next call,
which takes as long as a hundred steps of a small network. Nothing here or in Keras' layers draws from it; what others
have written may, so with a model, an augmentation or a callback of theirs it is set, and another seed traces anew.
"""

import collections
import dataclasses
import json
import random
from typing import Any

import keras
import numpy as np

from dlexp.config.experiment_config import ExperimentConfig, field_names
from dlexp.registry import AUGMENTATIONS, MODELS
from dlexp.training.compiling import seed_everything
from dlexp.training.optimizers import set_rates
from dlexp.training.preparation import Setup, build_compiled, check_monitor, prepare

_MOST_NETWORKS = 4


class WarmNetworks:
    """Prepares trials, with the network of a former one where that is the same."""

    def __init__(self) -> None:
        self._setups: collections.OrderedDict[str, Setup] = collections.OrderedDict()

    def prepare(self, config: ExperimentConfig, *, initialize: bool = True) -> Setup:
        """As `preparation.prepare`, which it is equal to bit for bit."""
        key = trace_key(config)
        previous = self._setups.pop(key, None)
        if previous is None or not _is_all_ours(config):
            keras.utils.clear_session(free_memory=False)  # layers get the names that they have in a fresh process
        if previous is None:
            setup = prepare(config, initialize=initialize)
        else:
            setup = renew(previous, config, initialize=initialize)
        self._setups[key] = setup
        if len(self._setups) > _MOST_NETWORKS:
            self._setups.popitem(last=False)
        return setup

    def forget(self) -> None:
        """Drops all networks, as after a failure, which may have left one in any state."""
        self._setups.clear()


def trace_key(config: ExperimentConfig) -> str:
    """Text that is equal where the trainings of two configs trace the same."""
    values: dict[str, Any] = config.flat()
    key = {name: values[name] for name in sorted(field_names("traced"))}
    key["decays"] = config.optimization.weight_decay > 0
    if config.optimization.optimizer == "muon":
        key["weight_decay"] = config.optimization.weight_decay  # it computes with the number itself
    if not _is_all_ours(config):
        key["seed"] = config.seed
    return json.dumps(key)


def renew(previous: Setup, config: ExperimentConfig, *, initialize: bool) -> Setup:
    """The setup of a config with the traced network of a former one, whose `trace_key` is equal."""
    if _is_all_ours(config):
        random.seed(config.seed)
        np.random.seed(config.seed)
    else:
        seed_everything(config.seed, deterministic=config.execution.deterministic)
    datasets = previous.datasets
    datasets.reseed(config.seed)
    check_monitor(config.selection, num_classes=datasets.dataset.num_classes)
    fresh, facts = build_compiled(config, datasets, initialize=initialize)
    _copy(fresh.optimizer.variables, previous.model.optimizer.variables)
    _copy(fresh.variables, previous.model.variables)
    set_rates(previous.model.optimizer, config.optimization)
    previous.meters.reset()
    return dataclasses.replace(previous, config=config, facts=facts)


def _is_all_ours(config: ExperimentConfig) -> bool:
    """Whether no code of a plug-in, or of another package that is installed, has a part in the training."""
    ours = MODELS.is_builtin(config.model.model) and all(map(AUGMENTATIONS.is_builtin, config.data.augment))
    return ours and not config.optimization.callbacks


def _copy(source: list[keras.Variable], target: list[keras.Variable]) -> None:
    for new, old in zip(source, target, strict=True):
        old.assign(new.value)
