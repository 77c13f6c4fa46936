"""How much each class counts in the training loss."""

import numpy as np

from dlexp.config.class_weights import parse_class_weights
from dlexp.datasets.dataset import Dataset
from dlexp.errors import ConfigError, unknown_name


def weights_of_classes(text: str, dataset: Dataset) -> np.ndarray | None:
    """Returns the weights that `--class_weights` describes.

    `balanced` is n / (classes * n of the class) over the training examples, as in scikit-learn; their mean over the
    examples is 1. A class that is not named weighs 1.

    Args:
        text: value of the field.
        dataset: its class names, and its training examples.

    Returns:
        `float32` `(num_classes,)`; None for `none`.

    Raises:
        ConfigError: a named class does not exist.
    """
    asked = parse_class_weights(text)
    if asked == "none":
        return None
    if isinstance(asked, str):
        counts = dataset.counts()["train"].to_numpy()
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)
    weights = np.ones(dataset.num_classes, np.float32)
    for name, weight in asked.items():
        if name not in dataset.class_names:
            raise ConfigError(f"class_weights={text}: {unknown_name('class', name, dataset.class_names)}")
        weights[dataset.class_names.index(name)] = weight
    return weights
