"""Estimates the memory that a training needs, from its model and its config, without a step."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import OptimizationConfig
from dlexp.datasets.parallelism import BATCHES_AHEAD
from dlexp.models.activation_memory import activation_bytes, bytes_of

# Variables of the size of the weights that an optimizer keeps; one for all that are not listed.
_SLOTS = dict.fromkeys(("adam", "adamw", "adamax", "adadelta", "ftrl", "lamb", "nadam", "schedule_free_adamw"), 2)


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory that a training needs in addition to that of TensorFlow itself; rather too low than too high.

    Attributes:
        fixed_bytes: weights, gradients, variables of the optimizer and moving averages.
        bytes_per_example: for each example that passes through the network at once: activations, and its images.
        waiting_bytes_per_example: the part of it for each example of a batch: images and labels, those of the batches
            that are made ahead included.
    """

    fixed_bytes: int
    bytes_per_example: int
    waiting_bytes_per_example: int

    def at(self, batch_size: int, micro_batch_size: int = 0) -> int:
        """Returns the bytes of a training.

        Args:
            batch_size: examples in a batch.
            micro_batch_size: how many of them pass at once; 0: all.
        """
        passing = min(micro_batch_size or batch_size, batch_size)
        waiting = (batch_size - passing) * self.waiting_bytes_per_example
        return self.fixed_bytes + passing * self.bytes_per_example + waiting


def estimate_memory(
    model: keras.Model, config: ExperimentConfig, image_shape: tuple[int, int, int], num_classes: int
) -> MemoryEstimate:
    """Estimates the memory that the training of a model needs; measures nothing.

    Args:
        model: built; compiled or not.
        config: its optimizer is used if the model is not compiled; its batch sizes do not matter.
        image_shape: (height, width, channels).
        num_classes: number of logits.
    """
    trainable = count_bytes(model.trainable_variables)
    slots = count_bytes(optimizer_variables(model)) or trainable * _count_slots(config.optimization)
    waiting = (BATCHES_AHEAD + 1) * (bytes_of("uint8") * math.prod(image_shape) + bytes_of("float32") * num_classes)
    return MemoryEstimate(
        fixed_bytes=count_bytes(model.variables) + trainable + slots,
        bytes_per_example=activation_bytes(model, image_shape) + waiting,
        waiting_bytes_per_example=waiting,
    )


def count_bytes(variables: Iterable[Any]) -> int:
    """Returns the bytes of Keras variables."""
    return sum(math.prod(variable.shape) * bytes_of(variable.dtype) for variable in variables)


def optimizer_variables(model: keras.Model) -> list[Any]:
    """Returns the variables of the optimizer of a model; none if it is not compiled, or not built."""
    optimizer = getattr(model, "optimizer", None)
    return list(optimizer.variables) if optimizer is not None and optimizer.built else []


def _count_slots(optimization: OptimizationConfig) -> int:
    name, arguments = optimization.optimizer, optimization.optimizer_args
    slots = _SLOTS.get(name, 1)
    if name == "sgd" and arguments.get("momentum") == 0:
        slots = 0
    slots += bool(arguments.get("amsgrad"))
    return slots + (optimization.ema_decay > 0)
