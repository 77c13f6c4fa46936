"""Draws the reliability diagram: accuracy over confidence, before and after temperature scaling."""

import math
import pathlib

import numpy as np
from matplotlib.axes import Axes

from dlexp.evaluation.calibration import BINS, Calibration
from dlexp.evaluation.split_scores import SplitScores
from dlexp.reports.figure import make_figure, save_figure

_BLUE, _RED = "#4878a8", "#c44e52"
_EDGES = np.linspace(0, 1, BINS + 1)


def draw_reliability(path: pathlib.Path, scores: SplitScores, *, title: str) -> None:
    """Draws accuracy over confidence and the number of examples per bin, before and after temperature scaling.

    Args:
        path: of the PNG file.
        scores: of a split.
        title: above the picture.
    """
    figure = make_figure(8.6, 5.1, margins=(0.8, 0.55, 0.2, 1.3))
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(
        2, 2, sharex=True, sharey="row", height_ratios=(3, 1), gridspec_kw={"hspace": 0.08, "wspace": 0.1}
    )
    temperature = scores.temperature
    headings = (
        "without temperature scaling (T = 1)",
        f"with temperature T = {temperature.value:.3g}, fitted on {temperature.fitted_on}",
    )
    for column, calibration in enumerate((scores.calibration, scores.calibrated)):
        _draw_diagram(axes[0, column], calibration, heading=headings[column])
        _draw_counts(axes[1, column], calibration.counts)
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("examples")
    # The legend is above the diagrams: inside, it would hide bars.
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.91), ncols=3, fontsize=8, frameon=False)
    save_figure(figure, path)


def _draw_diagram(axes: Axes, calibration: Calibration, *, heading: str) -> None:
    filled = calibration.counts > 0
    left, confidence = _EDGES[:-1][filled], calibration.confidence[filled]
    axes.stairs(np.nan_to_num(calibration.accuracy), _EDGES, fill=True, color=_BLUE, label="accuracy of the bin")
    axes.hlines(confidence, left, left + 1 / BINS, color=_RED, linewidth=2, label="mean confidence of the bin")
    axes.plot([0, 1], [0, 1], color="gray", linestyle=":", linewidth=1, label="perfectly calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"{heading}\nECE {calibration.expected_error:.4f}, NLL {calibration.nll:.4f}", fontsize=9)


def _draw_counts(axes: Axes, counts: np.ndarray) -> None:
    """Draws log(1 + count), so that a bin with one example is visible next to a bin with thousands."""
    most = 10 ** math.ceil(math.log10(max(counts.max(), 10)))
    ticks = [0, *(10**power for power in range(1, 1 + round(math.log10(most))))]
    axes.stairs(np.log10(1 + counts), _EDGES, fill=True, color="#8c8c8c")
    axes.set_yticks(np.log10(1 + np.array(ticks)), [f"{tick:,}" for tick in ticks], fontsize=8)
    axes.set_ylim(0, np.log10(1 + most))
    axes.set_xlabel("confidence (probability of the predicted class)")
