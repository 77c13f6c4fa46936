"""Measures the pixels of a training split, for models that scale their inputs by them."""

import weakref

import numpy as np
import tensorflow as tf

from dlexp.datasets import Datasets
from dlexp.datasets.damage import naming_unreadable_images
from dlexp.models.build import ChannelStatistics

# The trials of a sweep share their datasets, and the seed of a trial does not change the training split.
_measured: weakref.WeakKeyDictionary[Datasets, ChannelStatistics] = weakref.WeakKeyDictionary()


def measure_channels(datasets: Datasets) -> ChannelStatistics:
    """Measures mean and variance of every channel over all pixels of the training split, without augmentation.

    Sums of whole numbers are exact: the result does not depend on the order or the batches.

    Returns:
        In units of pixels in [0, 255].

    Raises:
        DataError: an image cannot be read; the error names it.
    """
    if datasets in _measured:
        return _measured[datasets]
    channels = datasets.dataset.image_shape[-1]
    count, total, squares = 0, np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    with naming_unreadable_images(datasets.dataset):
        for images, _ in datasets.split_batches("train"):
            values = tf.cast(images, tf.int64)
            count += int(np.prod(images.shape[:-1]))
            total += tf.reduce_sum(values, axis=(0, 1, 2)).numpy()
            squares += tf.reduce_sum(values * values, axis=(0, 1, 2)).numpy()
    mean = total / count
    # In whole numbers: the difference of two large floating-point numbers would lose digits.
    variance = [(int(count) * int(q) - int(s) ** 2) / count**2 for s, q in zip(total, squares, strict=True)]
    _measured[datasets] = ChannelStatistics(tuple(map(float, mean)), tuple(variance))
    return _measured[datasets]


def facts_of_statistics(datasets: Datasets) -> dict[str, list[float]]:
    """Returns `pixel_mean` and `pixel_variance` for the record of a run, if the statistics were measured."""
    statistics = _measured.get(datasets)
    if statistics is None:
        return {}
    return {"pixel_mean": list(statistics.mean), "pixel_variance": list(statistics.variance)}
