"""A copy in host memory of a model under training, and its position in the training."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from dlexp.checkpoints.averages import averaged_weights, has_average
from dlexp.checkpoints.files import weights_digest
from dlexp.models.keras_internals import metric_variables


@dataclass(frozen=True)
class Snapshot:
    """The state of a model at one step; later steps do not change it.

    Attributes:
        step: training steps taken.
        weights: the weights that the checkpoint holds, in order; with a moving average, the averages.
        state: what an exact resume needs in addition, as a `.keras` file does not keep it: `optimizer_N` (variables of
            the optimizer in order), `seed_N` (states of the model's seed generators), `metric_N` (metrics of an
            unfinished epoch) and, with a moving average, `weight_N` (the weights themselves).
    """

    step: int
    weights: Sequence[np.ndarray]
    state: Mapping[str, np.ndarray]

    @functools.cached_property
    def digest(self) -> str:
        """Digest of the weights, computed once for all files of a snapshot."""
        return weights_digest(self.weights)


def take_snapshot(model: keras.Model, step: int) -> Snapshot:
    """Copies a built and compiled model with its optimizer and metrics; `step` is the number of steps taken."""
    state = {
        f"{group}_{number}": _copy(variable)
        for group, variables in state_variables(model).items()
        for number, variable in enumerate(variables)
    }
    with averaged_weights(model):
        weights = [_copy(weight) for weight in model.weights]
    return Snapshot(step, weights, state)


def state_variables(model: keras.Model) -> dict[str, list[Any]]:
    """The variables that `Snapshot.state` holds, by group."""
    weights = {id(weight) for weight in model.weights}
    return {
        "optimizer": model.optimizer.variables,
        "seed": [variable for variable in model.variables if id(variable) not in weights],
        "metric": metric_variables(model),
        "weight": model.weights if has_average(model) else [],
    }


def _copy(variable: Any) -> np.ndarray:
    return np.array(variable.numpy())


@dataclass(frozen=True)
class Position:
    """A position in a training, between two steps.

    Attributes:
        step: training steps taken, over all epochs.
        epoch: epochs completed, validation included. An epoch does not count between its last step and the end of its
            validation.
    """

    step: int = 0
    epoch: int = 0

    @classmethod
    def at_end(cls, epoch: int, steps_per_epoch: int) -> "Position":
        """The end of an epoch counted from 0."""
        return cls(step=(epoch + 1) * steps_per_epoch, epoch=epoch + 1)
