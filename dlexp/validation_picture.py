"""The picture of how a model's predictions for a few examples change over the epochs."""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from dlexp.reports.figure import fit_width, make_figure, save_figure, shorten, show_pixels

_MOST_EPOCHS = 24
_ROW_INCHES, _LEAST_CELL_INCHES, _LEAST_INCHES = 0.62, 0.45, 4.5
_CELL_POINTS = 7


def draw_validation_examples(
    path: pathlib.Path, table: pd.DataFrame, images: np.ndarray, class_names: Sequence[str], *, name: str
) -> None:
    """Draws an example a row and an epoch a column: shade is the probability of the true class.

    A cell whose prediction is wrong names the class that was predicted.

    Args:
        path: of the PNG file.
        table: one row an example and epoch, with the columns epoch, key, label, prediction, probability_of_label; in
            each epoch the examples in the order of `images`.
        images: `uint8` `(n, height, width, channels)`.
        class_names: name of each label.
        name: of the dataset.
    """
    epochs = np.unique(table["epoch"])
    shown = epochs[np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), _MOST_EPOCHS)).round().astype(int))]
    count, columns = len(images), len(shown)
    by_epoch = [table[table["epoch"] == epoch] for epoch in shown]
    probabilities = np.stack([each["probability_of_label"].to_numpy() for each in by_epoch], axis=1)

    cell_inches = max(_LEAST_CELL_INCHES, _LEAST_INCHES / columns)
    image_width = _ROW_INCHES / cell_inches * images.shape[2] / images.shape[1]  # of the space left of the first epoch
    figure = make_figure(2.2 + cell_inches * (columns + image_width), 1.3 + _ROW_INCHES * count)
    axes = figure.add_subplot()
    colors = axes.imshow(
        probabilities, cmap="Blues", vmin=0, vmax=1, aspect="auto", extent=(0, columns, count, 0), interpolation="none"
    )
    figure.colorbar(colors, ax=axes, label="probability of the true class", shrink=0.8)
    for column, each in enumerate(by_epoch):
        for row, (label, prediction) in enumerate(zip(each["label"], each["prediction"], strict=True)):
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
