"""Draws the curves of a run into one picture, `history.png`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dlexp.reports.figure import make_figure, save_figure, shorten
from dlexp.runs.run import Run

PICTURE_FILE = "history.png"
_COLUMNS, _MOST_METRICS = 3, 6
_FEW_MAGNITUDES = 20
_BLUE, _ORANGE = "tab:blue", "tab:orange"


@dataclass(frozen=True)
class _Panel:
    """One diagram of the picture.

    Attributes:
        label: of the vertical axis.
        curves: key, name in the legend, and color of each curve.
        logarithmic: whether the vertical axis is logarithmic if the values are positive and differ by a large factor.
    """

    label: str
    curves: Sequence[tuple[str, str, str]]
    logarithmic: bool = False


# What is drawn in addition to the metrics that Keras measures.
_OTHERS = (
    _Panel("learning rate", [("learning_rate", "", _BLUE)]),
    _Panel("gradient norm, unclipped", [("gradient_norm", "", _BLUE)], logarithmic=True),
    _Panel("norm of the weights", [("weight_norm", "", _BLUE)]),
    _Panel("training images per second", [("images_per_second", "", _BLUE)]),
    _Panel("waiting for data, s per epoch", [("data_wait_seconds", "", _BLUE)]),
    _Panel("memory of the process, MB", [("load/process_memory_mb", "", _BLUE)]),
)


def draw_history(run: Run) -> None:
    """Draws every curve of a run over its epochs into `history.png`; does nothing if no epoch has ended.

    Training is blue, validation is orange, and a dotted line marks the best epoch.
    """
    points, record = run.points(), run.record()
    epochs = points[~points["key"].str.startswith(("steps/", "test_", "best"))]
    if epochs["key"].str.startswith("val_").any():
        curves = epochs.pivot_table(index="epoch", columns="key", values="value", aggfunc="last", dropna=False)
        curves = curves.replace([np.inf, -np.inf], np.nan)  # the norm of gradients that overflowed, for example
        panels = [*_metric_panels(curves), *(panel for panel in _OTHERS if panel.curves[0][0] in curves)]
        rows = -(-len(panels) // _COLUMNS)
        figure = make_figure(4.2 * _COLUMNS, 2.9 * rows + 0.5)
        for number, panel in enumerate(panels, start=1):
            _draw_panel(figure.add_subplot(rows, _COLUMNS, number), curves, panel, best_epoch=record.get("best_epoch"))
        figure.suptitle(_title(record), fontsize=11)
        save_figure(figure, run.path / PICTURE_FILE)


def _metric_panels(curves: pd.DataFrame) -> list[_Panel]:
    """Makes the panels of the metrics: loss first, then accuracy, then the others by name."""
    names = [key.removeprefix("val_") for key in map(str, curves) if key.startswith("val_")]
    names.sort(key=lambda name: ({"loss": 0, "accuracy": 1}.get(name, 2), name))
    return [
        _Panel(name.replace("_", " "), [(name, "training", _BLUE), (f"val_{name}", "validation", _ORANGE)])
        for name in names[:_MOST_METRICS]
    ]


def _draw_panel(axes: Axes, curves: pd.DataFrame, panel: _Panel, *, best_epoch: int | None) -> None:
    marker = "o" if len(curves) == 1 else None  # a single point draws no line
    for key, legend, color in panel.curves:
        if key in curves:
            axes.plot(curves.index, curves[key], label=legend, color=color, marker=marker)
    if len(panel.curves) > 1:
        axes.legend(fontsize=8)
    values = curves[next(key for key, _, _ in panel.curves if key in curves)]
    if panel.logarithmic and 0 < _FEW_MAGNITUDES * values.min() < values.max():
        axes.set_yscale("log")
    if best_epoch is not None:
        axes.axvline(best_epoch, color="gray", linestyle=":", linewidth=1)
    axes.set_xlabel("epoch", fontsize=9)
    axes.set_ylabel(panel.label, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)


def _title(record: dict[str, Any]) -> str:
    best = f", best epoch {record['best_epoch']} (dotted)" if "best_epoch" in record else ""
    return f"{shorten(record['name'], 80)} ({record['run_id'][:8]}){best}"
