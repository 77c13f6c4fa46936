"""The input pipeline: each batch a pure function of (dataset, seed, step), so that a training can begin at any step."""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.config import ExperimentConfig
from dlexp.datasets.augment import build_augmentation
from dlexp.datasets.cache import decode_to_disk, decode_to_memory
from dlexp.datasets.dataset import Dataset, open_dataset
from dlexp.datasets.decoding import resize_array
from dlexp.datasets.pixels import DecodedPixels, HeldPixels, decoded_pixels
from dlexp.datasets.randomness import derive_seed, mix_keys, shuffle_positions
from dlexp.datasets.source import ArraySource


def build_datasets(config: ExperimentConfig) -> "Datasets":
    """Opens the dataset of an experiment and makes its input pipelines.

    With a cache all images are decoded here, before the first step.

    Raises:
        UnknownNameError: the source or an augmentation is not registered.
        DataError: the data cannot be read, or does not fit the config.

    Example:
        >>> datasets = build_datasets(ExperimentConfig.of(dataset="digits", augment=("crop",)))
        >>> model.fit(datasets.train_dataset(), steps_per_epoch=datasets.steps_per_epoch, epochs=10)
    """
    return Datasets(config, open_dataset(config.data))


class Datasets:
    """The training, validation and test batches of one experiment.

    Elements are (images, labels). Images are `(batch, height, width, channels)` in [0, 255]: `uint8`, or `float32`
    where an augmentation makes fractions. Labels are `float32` `(batch, num_classes)`, one-hot; label smoothing, MixUp
    and CutMix touch those of training alone. The last batch of an epoch or split may be smaller.

    Attributes:
        dataset: what is fed.
        steps_per_epoch: steps in which every training example is seen once.
        total_steps: steps of the whole training.
        validation: `tf.data.Dataset` in the order of the manifest.
        test: the same.
    """

    def __init__(self, config: ExperimentConfig, dataset: Dataset) -> None:
        self.dataset = dataset
        self._config = config
        self._pixels = _open_pixels(config, dataset)
        self._augment = build_augmentation(config.data.augment, config.seed)
        self._order_seed = derive_seed(config.seed, "order")
        self._num_train = dataset.count("train")
        # Tensors, which a graph refers to; arrays would be copied into each of its functions.
        self._train_rows = tf.constant(dataset.rows("train"))
        self._labels = tf.constant(dataset.manifest["label"].to_numpy())
        self.steps_per_epoch = self._count_steps(self._num_train)
        self.total_steps = self.steps_per_epoch * config.optimization.epochs
        self.validation = self._split_dataset("validation")
        self.test = self._split_dataset("test")

    def train_dataset(self, first_step: int = 0) -> Any:
        """Training batches from one step of the whole training to its end; step s is the same wherever one begins.

        Args:
            first_step: from 0 to `total_steps`, counted over all epochs.

        Returns:
            `tf.data.Dataset` of `total_steps - first_step` elements.
        """
        if not 0 <= first_step <= self.total_steps:
            raise ValueError(f"first_step must be from 0 to {self.total_steps}. Received: first_step={first_step}")
        steps = tf.data.Dataset.range(first_step, self.total_steps)
        return self._batches(steps, self._rows_of_train_step, self._finish_train)

    def train_indices(self, step: int) -> np.ndarray:
        """`int64` positions in the manifest of the examples in one training step, in the order of the batch."""
        rows: np.ndarray = self._rows_of_train_step(tf.constant(step, tf.int64))[0].numpy()
        return rows

    def _rows_of_train_step(self, step: Any) -> tuple[Any, Any]:
        epoch, positions = step // self.steps_per_epoch, self._positions(step, self._num_train)
        key = mix_keys(tf.constant(self._order_seed, tf.uint32), epoch)
        shuffled = shuffle_positions(positions, self._num_train, key)
        return tf.gather(self._train_rows, shuffled), epoch

    def _positions(self, step: Any, count: int) -> Any:
        first = step % self._count_steps(count) * self._config.data.batch_size
        return tf.range(first, tf.minimum(first + self._config.data.batch_size, count))

    def _count_steps(self, count: int) -> int:
        return -(-count // self._config.data.batch_size)

    def _split_dataset(self, split: str) -> Any:
        count, split_rows = self.dataset.count(split), tf.constant(self.dataset.rows(split))

        def rows_of(step: Any) -> tuple[Any, Any]:
            return tf.gather(split_rows, self._positions(step, count)), tf.constant(0, tf.int64)

        steps = tf.data.Dataset.range(self._count_steps(count))
        return self._batches(steps, rows_of, lambda images, rows, _: (images, self._one_hot(rows)))

    def _batches(self, steps: Any, rows_of: Any, finish: Any) -> Any:
        count = int(steps.cardinality())
        batches = self._pixels.batches(steps, rows_of, finish, self._config.execution.num_workers)
        return batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)

    def _finish_train(self, images: Any, rows: Any, epoch: Any) -> tuple[Any, Any]:
        smoothing = self._config.optimization.label_smoothing
        labels = self._one_hot(rows) * (1 - smoothing) + smoothing / self.dataset.num_classes
        return self._augment(images, labels, rows, epoch)

    def _one_hot(self, rows: Any) -> Any:
        return tf.one_hot(tf.gather(self._labels, rows), self.dataset.num_classes)


def _open_pixels(config: ExperimentConfig, dataset: Dataset) -> HeldPixels | DecodedPixels:
    source, num_workers = dataset.source, config.execution.num_workers
    if isinstance(source, ArraySource):
        return HeldPixels(resize_array(source.images, dataset.image_shape[:2]))
    if config.execution.cache == "memory":
        return HeldPixels(decode_to_memory(dataset, num_workers))
    if config.execution.cache == "disk":
        return HeldPixels(decode_to_disk(dataset, pathlib.Path(config.tracking.store, "cache"), num_workers))
    return decoded_pixels(dataset, config.data.batch_size)
