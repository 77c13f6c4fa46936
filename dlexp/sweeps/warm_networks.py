"""Keeps traced networks from one trial to the next: if two configs trace the same graph, only values are replaced.

Most of a short training is the time to trace it. If the config of a trial differs from a previous one only in what is
not part of the traced graph (seed, learning rate, weight decay, what is recorded), the trial reuses that network, with
its own weights, optimizer state and batches. The result is bit for bit that of a fresh process. If anything else
differs, the network is built and traced anew.

TensorFlow's global seed is part of what is traced. Setting it also makes TensorFlow optimize all functions again before
their next call, which takes as long as a hundred steps of a small network. No code of dlexp or of Keras' layers draws
from this seed, so it is not set for them. Code of plug-ins may draw from it: with a model, an augmentation or a
callback of a plug-in it is set, and another seed is traced anew.
"""

import collections
import dataclasses
import json
from typing import Any

import keras

from dlexp.config.experiment_config import ExperimentConfig, field_names
from dlexp.registry import AUGMENTATIONS, LOSSES, METRICS, MODELS
from dlexp.runs.metric_names import resolve_metrics
from dlexp.training.compiling import reseed_python, seed_everything
from dlexp.training.optimizers import set_rates
from dlexp.training.preparation import Setup, build_compiled, check_monitor_of, prepare
from dlexp.training.step_counter import StepCounter

_MOST_NETWORKS = 4


class WarmNetworks:
    """Prepares trials; reuses the network of a previous trial if it traces the same."""

    def __init__(self) -> None:
        self._setups: collections.OrderedDict[str, Setup] = collections.OrderedDict()

    def prepare(self, config: ExperimentConfig, *, initialize: bool = True) -> Setup:
        """Returns what `preparation.prepare` returns; a training with it is bit for bit the same."""
        key = trace_key(config)
        previous = self._setups.pop(key, None)
        if previous is not None and previous.meters.untracked_state.find():
            previous = None  # what no checkpoint holds cannot be set back either
        if previous is None or not _is_all_builtin(config):
            keras.utils.clear_session(free_memory=False)  # layers get the names they would have in a fresh process
        if previous is None:
            setup = prepare(config, initialize=initialize)
        else:
            setup = renew(previous, config, initialize=initialize)
        self._setups[key] = setup
        if len(self._setups) > _MOST_NETWORKS:
            self._setups.popitem(last=False)
        return setup

    def forget(self) -> None:
        """Drops all networks; call it after a failure, which may leave a network in any state."""
        self._setups.clear()


def trace_key(config: ExperimentConfig) -> str:
    """A key that is equal for configs whose trainings trace the same."""
    values: dict[str, Any] = config.flat()
    key = {name: values[name] for name in sorted(field_names("traced"))}
    key["decays"] = config.optimization.weight_decay > 0
    if config.optimization.optimizer == "muon":
        key["weight_decay"] = config.optimization.weight_decay  # the number itself is traced, not a variable
    if not _is_all_builtin(config):
        key["seed"] = config.seed
    return json.dumps(key)


def renew(previous: Setup, config: ExperimentConfig, *, initialize: bool) -> Setup:
    """The setup of a config, with the traced network of a previous setup whose `trace_key` is equal."""
    if _is_all_builtin(config):
        reseed_python(config.seed)
    else:
        seed_everything(config.seed, deterministic=config.execution.deterministic)
    datasets = previous.datasets
    datasets.reseed(config.seed)
    check_monitor_of(config, datasets.dataset)
    fresh, facts = build_compiled(config, datasets, initialize=initialize, steps=StepCounter())
    _copy(fresh.optimizer.variables, previous.model.optimizer.variables)
    _copy(fresh.variables, previous.model.variables)
    set_rates(previous.model.optimizer, config.optimization)
    previous.meters.reset()
    reseed_python(config.seed)
    return dataclasses.replace(previous, config=config.replace(bits=str(datasets.dataset.bits)), facts=facts)


def _is_all_builtin(config: ExperimentConfig) -> bool:
    """Whether the training runs no code of a plug-in or of an extension package."""
    builtin = MODELS.is_builtin(config.model.model) and all(map(AUGMENTATIONS.is_builtin, config.data.augment))
    builtin &= LOSSES.is_builtin(config.optimization.loss)
    builtin &= all(METRICS.is_builtin(resolved.metric) for resolved in resolve_metrics(config.selection.metrics))
    return builtin and not config.optimization.callbacks


def _copy(source: list[keras.Variable], target: list[keras.Variable]) -> None:
    for new, old in zip(source, target, strict=True):
        old.assign(new.value)
