"""The memory of a training that a short run does not show: what grows with the number of examples."""

import math

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset

# Peak memory of the evaluation and report of a split, measured with 10 and 500 classes and 8,600 to 43,000 examples.
_BYTES_PER_PREDICTION = 700
_BYTES_PER_PROBABILITY = 60


def unmeasured_bytes(config: ExperimentConfig, dataset: Dataset) -> int:
    """Returns the bytes of cached images, and of the predictions for all validation and test examples."""
    images = 0 if config.execution.cache == "none" else len(dataset.manifest) * math.prod(dataset.image_shape)
    predictions = dataset.count("validation") + dataset.count("test")
    return images + predictions * (_BYTES_PER_PREDICTION + _BYTES_PER_PROBABILITY * dataset.num_classes)
