"""The input pipeline: each batch is a pure function of (dataset, seed, step), so a training can start at any step."""

import math
import pathlib
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets.augmentation.augment import build_augmentation, build_image_moves
from dlexp.datasets.augmentation.contract import check_augmentations
from dlexp.datasets.augmentation.image_moves import count_moves
from dlexp.datasets.cache import decode_to_disk, decode_to_memory
from dlexp.datasets.class_weights import weights_of_classes
from dlexp.datasets.dataset import Dataset, open_dataset
from dlexp.datasets.order import TrainOrder
from dlexp.datasets.parallelism import BATCHES_AHEAD
from dlexp.datasets.pixels import DecodedPixels, HeldPixels, decoded_pixels, held_arrays
from dlexp.datasets.randomness import SeedKey

_FIXED_BYTES = 2**25  # of pixels: the batches of a split up to this size are made once and kept


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
    if an augmentation returns fractions. Labels are `float32` `(batch, num_classes)`, one-hot; label smoothing, MixUp
    and CutMix change only training labels. The last batch of an epoch or split may be smaller.

    With `class_weights`, training elements are (images, labels, weights). Weights are `float32` `(batch,)`; that of a
    mixed label is the mean of the weights of its classes.

    Attributes:
        dataset: the examples.
        batch_size: examples in a batch of the training.
        evaluation_batch_size: examples in a batch of a split, which takes no more memory than a training step.
        examples_per_epoch: training examples in an epoch; those of a source of weight 2 count twice.
        steps_per_epoch: steps in an epoch.
        total_steps: steps in the whole training.
        validation: `tf.data.Dataset` of the validation split, in the order of the manifest.
        test: the same for the test split.
    """

    def __init__(self, config: ExperimentConfig, dataset: Dataset) -> None:
        self.dataset = dataset
        self.batch_size, self.evaluation_batch_size = config.data.batch_size, config.data.evaluation_batch_size
        self._config = config
        self._pixels = _open_pixels(config, dataset)
        check_augmentations(config.data.augment, dataset.image_shape, dataset.num_classes)
        self._augment_key = SeedKey(config.seed, "augment")
        self._train_pixels, num_moves = _with_moves(self._pixels, config, self._augment_key, dataset.image_shape)
        self._augment = build_augmentation(config.data.augment, self._augment_key, first=num_moves)
        train = dataset.manifest[dataset.manifest["split"] == "train"]
        self._order = TrainOrder(
            train, batch_size=self.batch_size, seed=config.seed, balanced=config.data.sampling == "balanced"
        )
        self._class_weights = weights_of_classes(config.optimization.class_weights, dataset)
        self._labels = tf.constant(dataset.manifest["label"].to_numpy())
        self._train_datasets: dict[int, Any] = {}  # by first step
        self._split_datasets: dict[str, Any] = {}  # by split
        self.examples_per_epoch = self._order.places
        self.steps_per_epoch = self._order.steps_per_epoch
        self.total_steps = self.steps_per_epoch * config.optimization.epochs
        self.validation = self.split_batches("validation")
        self.test = self.split_batches("test")

    def reseed(self, seed: int) -> None:
        """Changes to the batches of another seed, also in pipelines that already exist."""
        self._config = self._config.replace(seed=seed)
        self._order.reseed(seed)
        self._augment_key.reseed(seed)

    def shorten_epochs(self, steps: int) -> None:
        """Leaves out most steps of every epoch, for measurements; the first ones stay, and the last, which is smaller.

        What is computed from the steps of an epoch stays the same if it is there already.

        Args:
            steps: at least 1; more than an epoch has are not taken.
        """
        self.examples_per_epoch -= self._order.shorten(steps) * self.batch_size
        self.steps_per_epoch = self._order.steps_per_epoch

    def train_dataset(self, first_step: int = 0) -> Any:
        """Makes the training batches from one step to the end of the training; step s is the same for any start.

        Args:
            first_step: from 0 to `total_steps`, counted over all epochs.

        Returns:
            `tf.data.Dataset` of `total_steps - first_step` elements.
        """
        if not 0 <= first_step <= self.total_steps:
            raise ValueError(f"first_step must be from 0 to {self.total_steps}. Received: first_step={first_step}")
        if first_step not in self._train_datasets:
            steps = tf.data.Dataset.range(first_step, self.total_steps)
            self._train_datasets[first_step] = self._batches(
                self._train_pixels, steps, self._order.rows_of_step, self._finish_train
            )
        return self._train_datasets[first_step]

    def split_batches(self, split: str) -> Any:
        """Makes the batches of one split in the order of the manifest, without augmentation.

        Args:
            split: `train`, `validation` or `test`.

        Returns:
            `tf.data.Dataset` of one pass over the split.
        """
        if split not in self._split_datasets:
            self._split_datasets[split] = self._in_order(self.dataset.rows(split))
        return self._split_datasets[split]

    def train_indices(self, step: int) -> np.ndarray:
        """Returns the `int64` positions in the manifest of the examples in one training step, in batch order."""
        rows: np.ndarray = self._order.rows_of_step(tf.constant(step, tf.int64))[0].numpy()
        return rows

    def read_images(self, positions: np.ndarray) -> np.ndarray:
        """Reads examples by position in the manifest, as validation sees them.

        Returns:
            `uint8` `(n, height, width, channels)`.
        """
        return np.concatenate([images.numpy() for images, _ in self._in_order(positions)])

    def _in_order(self, positions: np.ndarray) -> Any:
        """Makes batches of the examples at these positions of the manifest, in this order."""
        batch_size, all_rows = self.evaluation_batch_size, tf.constant(positions)
        if (
            isinstance(self._pixels, HeldPixels)
            and 0 < len(positions) * math.prod(self.dataset.image_shape) <= _FIXED_BYTES
        ):
            return self._pixels.fixed_batches(positions, self._one_hot(all_rows), batch_size)

        def rows_of(step: Any) -> tuple[Any, Any]:
            return all_rows[step * batch_size : (step + 1) * batch_size], tf.constant(0, tf.int64)

        steps = tf.data.Dataset.range(-(-len(positions) // batch_size))
        return self._batches(self._pixels, steps, rows_of, lambda images, rows, _: (images, self._one_hot(rows)))

    def _batches(self, pixels: HeldPixels | DecodedPixels, steps: Any, rows_of: Any, finish: Any) -> Any:
        count = int(steps.cardinality())
        batches = pixels.batches(steps, rows_of, finish, self._config.execution.num_workers)
        return batches.apply(tf.data.experimental.assert_cardinality(count)).prefetch(BATCHES_AHEAD)

    def _finish_train(self, images: Any, rows: Any, epoch: Any) -> tuple[Any, ...]:
        smoothing = self._config.optimization.label_smoothing
        labels = self._one_hot(rows) * (1 - smoothing) + smoothing / self.dataset.num_classes
        images, labels = self._augment(images, labels, rows, epoch)
        if self._class_weights is None:
            return images, labels
        # As if the labels were not smoothed: a weight belongs to the classes that an example shows.
        shared = smoothing / self.dataset.num_classes * self._class_weights.sum()
        return images, labels, (tf.linalg.matvec(labels, self._class_weights) - shared) / (1 - smoothing)

    def _one_hot(self, rows: Any) -> Any:
        return tf.one_hot(tf.gather(self._labels, rows), self.dataset.num_classes)


def _open_pixels(config: ExperimentConfig, dataset: Dataset) -> HeldPixels | DecodedPixels:
    num_workers = config.execution.num_workers
    arrays = held_arrays(dataset)
    if arrays is not None:
        return arrays
    if config.execution.cache == "memory":
        return HeldPixels(decode_to_memory(dataset, num_workers))
    if config.execution.cache == "disk":
        return HeldPixels(decode_to_disk(dataset, pathlib.Path(config.tracking.store, "cache"), num_workers))
    return decoded_pixels(dataset, config.data.batch_size)


def _with_moves(
    pixels: HeldPixels | DecodedPixels, config: ExperimentConfig, key: SeedKey, image_shape: tuple[int, int, int]
) -> tuple[HeldPixels | DecodedPixels, int]:
    """Returns the training pixels, and how many augmentations they apply, to one image at a time after decoding it."""
    if isinstance(pixels, HeldPixels):
        return pixels, 0
    moves = config.data.augment[: count_moves(config.data.augment, image_shape)]
    return replace(pixels, moves=build_image_moves(moves, key, image_shape)), len(moves)
