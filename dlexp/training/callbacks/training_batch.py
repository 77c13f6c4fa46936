"""Draws the first training images as the model sees them: augmented."""

import pathlib
from collections.abc import Mapping

import keras
import numpy as np

from dlexp.datasets import Datasets
from dlexp.reports.figure import shorten
from dlexp.reports.image_grid import draw_images
from dlexp.runs.run import Run
from dlexp.tracking.base import Tracker

PICTURE_FILE = "samples/training_batch.png"
_MOST_IMAGES, _COLUMNS = 40, 8


class TrainingBatchPicture(keras.callbacks.Callback):
    """Draws the first batch of the first epoch into `samples/training_batch.png`, at the end of that epoch.

    Args:
        run: its folder gets the picture, once.
        tracker: receives the picture.
        datasets: where the batch comes from.
    """

    def __init__(self, run: Run, tracker: Tracker, datasets: Datasets) -> None:
        super().__init__()
        self._path, self._tracker, self._datasets = run.path / PICTURE_FILE, tracker, datasets

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Draws the picture, unless it exists."""
        if not self._path.exists():
            draw_training_batch(self._path, self._datasets)
            self._tracker.log_image("samples/training_batch", self._path, step=0)


def draw_training_batch(path: pathlib.Path, datasets: Datasets) -> None:
    """Draws the first images of the first training step with their labels, two where labels are mixed."""
    images, labels, *_ = next(iter(datasets.train_dataset().take(1)))
    images, labels = images.numpy()[:_MOST_IMAGES], labels.numpy()[:_MOST_IMAGES]
    pixels = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    dataset = datasets.dataset
    title = f"{shorten(dataset.name, 44)}: the first {len(pixels)} training images, as augmented"
    captions = [describe_label(label, dataset.class_names) for label in labels]
    draw_images(path, list(pixels), captions, title=title, columns=_COLUMNS, inches=1.2)


def describe_label(label: np.ndarray, class_names: tuple[str, ...]) -> str:
    """Text for a label: the class; with MixUp or CutMix the two largest classes with their shares."""
    first, second = np.argsort(-label, kind="stable")[:2]
    smoothing = np.sort(label)[:-2].max(initial=0.0)  # the share that label smoothing gives every class
    if label[second] <= smoothing + 0.005 or (len(label) == 2 and label[second] < 0.005):
        return class_names[first]
    return f"{class_names[first]} {label[first]:.2f}\n{class_names[second]} {label[second]:.2f}"
