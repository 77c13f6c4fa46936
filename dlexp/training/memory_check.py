"""Warns before the first step of a training that cannot fit into memory."""

import logging

import keras
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.machine.capacity import available_memory_bytes
from dlexp.machine.gpu import read_gpu_memory
from dlexp.machine.units import format_bytes
from dlexp.training.memory_estimate import count_bytes, estimate_memory, optimizer_variables

_log = logging.getLogger(__name__)


def warn_of_memory(
    model: keras.Model, config: ExperimentConfig, image_shape: tuple[int, int, int], num_classes: int
) -> None:
    """Warns in one line if the training needs more memory than there is, by an estimate that is rather too low.

    On a GPU the training may take all its memory, of the largest one if there are several; otherwise what is available
    on the machine in addition to the variables that exist already.

    Args:
        model: compiled, with its optimizer built.
        config: of the experiment.
        image_shape: (height, width, channels).
        num_classes: number of logits.
    """
    data = config.data
    needed = estimate_memory(model, config, image_shape, num_classes).at(data.batch_size, data.micro_batch_size)
    if tf.config.list_physical_devices("GPU"):
        there, words = max(read_gpu_memory(), default=0), "the GPU has {}"
    else:
        there, words = available_memory_bytes() or 0, "{} are available"
        needed -= count_bytes(model.variables) + count_bytes(optimizer_variables(model))
    if not there or needed <= there:
        return
    at_once = f", {data.micro_batch_size} at once," if data.micro_batch_size else ""
    _log.warning(
        "training %s with batches of %d images%s needs about %s of memory, but %s: dlexp batch-size finds the largest "
        "batch that fits",
        config.model.model, data.batch_size, at_once, format_bytes(needed), words.format(format_bytes(there)),
    )  # fmt: skip
