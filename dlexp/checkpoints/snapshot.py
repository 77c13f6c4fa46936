"""A model under training at one step, copied to host memory, and put back."""

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
    """Copies that later steps do not touch.

    Attributes:
        step: training steps taken.
        weights: what a checkpoint shows as the model's weights, in order; with a moving average, the averages.
        state: what else continues the training exactly, and a `.keras` file does not keep: `optimizer_N` (the
            optimizer's variables in order), `seed_N` (states of the model's seed generators), `metric_N` (metrics of
            an epoch that is not over) and, with a moving average, `weight_N`.
    """

    step: int
    weights: Sequence[np.ndarray]
    state: Mapping[str, np.ndarray]

    @functools.cached_property
    def digest(self) -> str:
        """Of the weights; the same for all files of a snapshot."""
        return weights_digest(self.weights)


def take_snapshot(model: keras.Model, step: int) -> Snapshot:
    """Copies a model, compiled and built, with its optimizer and its metrics, after so many steps."""
    state = {
        f"{group}_{number}": _copy(variable)
        for group, variables in state_variables(model).items()
        for number, variable in enumerate(variables)
    }
    with averaged_weights(model):
        weights = [_copy(weight) for weight in model.weights]
    return Snapshot(step, weights, state)


def state_variables(model: keras.Model) -> dict[str, list[Any]]:
    """The variables that `Snapshot.state` holds, by the group they are in."""
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
    """A moment between two steps.

    Attributes:
        step: training steps taken, over all epochs.
        epoch: epochs completed, validation included: after the last step of an epoch, and before its validation, one
            less than the steps tell.
    """

    step: int = 0
    epoch: int = 0

    @classmethod
    def at_end(cls, epoch: int, steps_per_epoch: int) -> "Position":
        """The end of an epoch counted from 0."""
        return cls(step=(epoch + 1) * steps_per_epoch, epoch=epoch + 1)
