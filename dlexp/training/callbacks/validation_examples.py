"""Predictions for a few validation examples, the same ones after every epoch: they show how the model learns."""

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from dlexp.datasets import Datasets
from dlexp.evaluation.scores import probabilities_of
from dlexp.reports.figure import fit_width, make_figure, save_figure, shorten, show_pixels
from dlexp.runs.run import Run
from dlexp.tracking.base import Tracker
from dlexp.training.step_counter import StepCounter

_MOST_EPOCHS = 24
_ROW_INCHES, _LEAST_CELL_INCHES, _LEAST_INCHES = 0.62, 0.45, 4.5
_CELL_POINTS = 7

RECORD_FILE = "samples/validation_examples.jsonl"
PICTURE_FILE = "samples/validation_examples.png"
_MOST_EXAMPLES = 12


class ValidationExamples(keras.callbacks.Callback):
    """Records the predictions for a dozen validation examples after every epoch, and draws them at the end.

    Args:
        run: its folder gets `samples/validation_examples.jsonl` and `.png`.
        tracker: receives the picture.
        datasets: where the examples come from, see `choose_examples`.
        forward: `uint8` images `(batch, height, width, channels)` to logits, without dropout.
        steps: counts the training steps.
    """

    def __init__(
        self, run: Run, tracker: Tracker, datasets: Datasets, forward: Callable[[Any], Any], steps: StepCounter
    ) -> None:
        super().__init__()
        self._steps = steps
        self._run, self._tracker, self._datasets, self._forward = run, tracker, datasets, forward
        self._positions = choose_examples(datasets.dataset.manifest)
        self._record = run.path / RECORD_FILE
        self._written_epochs = read_epochs(self._record)
        self._images = np.empty((0,), np.uint8)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Reads the images."""
        self._images = self._datasets.read_images(self._positions)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Records the predictions, unless a previous process recorded those of this epoch."""
        if epoch + 1 in self._written_epochs:
            return
        probabilities = probabilities_of(self._forward(self._images).numpy())
        examples = self._datasets.dataset.manifest.iloc[self._positions]
        lines = [
            {
                "epoch": epoch + 1,
                "key": key,
                "label": int(label),
                "prediction": int(row.argmax()),
                "confidence": round(float(row.max()), 6),
                "probability_of_label": round(float(row[label]), 6),
            }
            for key, label, row in zip(examples["key"], examples["label"], probabilities, strict=True)
        ]
        self._record.parent.mkdir(exist_ok=True)
        with self._record.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
        self._written_epochs.add(epoch + 1)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Draws the predictions of all epochs."""
        path, dataset = self._run.path / PICTURE_FILE, self._datasets.dataset
        table = read_predictions(self._record)
        if not table.empty:
            draw_validation_examples(path, table, self._images, dataset.class_names, name=dataset.name)
            self._tracker.log_image("samples/validation_examples", path, step=self._steps.taken())


def choose_examples(manifest: pd.DataFrame, *, most: int = _MOST_EXAMPLES) -> np.ndarray:
    """`int64` positions of validation examples: the first of each class by key, then the second, up to `most`."""
    validation = manifest[["key", "label", "split"]].reset_index(drop=True)
    validation = validation[validation["split"] == "validation"].sort_values("key")
    turn = validation.groupby("label").cumcount()
    chosen = validation.assign(turn=turn).sort_values(["turn", "label"]).head(most).sort_values(["label", "key"])
    return chosen.index.to_numpy(np.int64)


def read_predictions(path: pathlib.Path) -> pd.DataFrame:
    """The record as a table, one column per field; a last line that a kill has cut short is ignored."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return pd.DataFrame([json.loads(line) for line in lines if line.endswith("\n")])


def read_epochs(path: pathlib.Path) -> set[int]:
    """The epochs that are recorded in full; removes an epoch that a kill has left incomplete."""
    table = read_predictions(path)
    if table.empty:
        path.unlink(missing_ok=True)
        return set()
    counts = table["epoch"].value_counts()
    whole: Sequence[int] = counts.index[counts == counts.max()].tolist()
    kept = table[table["epoch"].isin(whole)]
    path.write_text("".join(json.dumps(line) + "\n" for line in kept.to_dict("records")), encoding="utf-8")
    return set(whole)


def draw_validation_examples(
    path: pathlib.Path, table: pd.DataFrame, images: np.ndarray, class_names: Sequence[str], *, name: str
) -> None:
    """Draws one row per example and one column per epoch; the shade of a cell is the probability of the true class.

    If the prediction is wrong, the cell names the predicted class.

    Args:
        path: of the PNG file.
        table: one row per example and epoch, with the columns epoch, key, label, prediction, probability_of_label;
            within an epoch the examples are in the order of `images`.
        images: `uint8` `(n, height, width, channels)`.
        class_names: name of each label.
        name: of the dataset.
    """
    epochs = np.unique(table["epoch"])
    shown = epochs[np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_EPOCHS)).round().astype(int))]
    count, columns = len(images), len(shown)
    by_epoch = [table[table["epoch"] == epoch] for epoch in shown]
    probabilities = np.stack([rows["probability_of_label"].to_numpy() for rows in by_epoch], axis=1)

    cell_inches = max(_LEAST_CELL_INCHES, _LEAST_INCHES / columns)
    image_width = _ROW_INCHES / cell_inches * images.shape[2] / images.shape[1]  # of the space left of the first epoch
    figure = make_figure(2.2 + cell_inches * (columns + image_width), 1.3 + _ROW_INCHES * count)
    axes = figure.add_subplot()
    colors = axes.imshow(
        probabilities, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=(0, columns, count, 0), interpolation="none"
    )
    figure.colorbar(colors, ax=axes, label="probability of the true class", shrink=0.8)
    for column, rows in enumerate(by_epoch):
        for row, (label, prediction) in enumerate(zip(rows["label"], rows["prediction"], strict=True)):
            if label != prediction:
                text = fit_width(class_names[prediction], points=_CELL_POINTS, inches=0.83 * cell_inches)
                color = "white" if probabilities[row, column] > 0.5 else "#7a0016"
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=_CELL_POINTS, color=color)
    for row, image in enumerate(images):
        show_pixels(axes, image, extent=(-image_width * 0.95, -image_width * 0.05, row + 0.95, row + 0.05))
    labels = [shorten(class_names[label], 14) for label in by_epoch[0]["label"]]
    axes.set(xlim=(-image_width, columns), ylim=(count, 0), xlabel="epoch", ylabel="true class")
    axes.set_xticks(np.arange(columns) + 0.5, [str(epoch) for epoch in shown], fontsize=8)
    axes.set_yticks(np.arange(count) + 0.5, labels, fontsize=8)
    title = f"{shorten(name, 44)}: {count} validation examples\nover the epochs; a wrong prediction is named"
    axes.set_title(title, fontsize=10)
    save_figure(figure, path)
