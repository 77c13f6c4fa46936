"""Pictures of a comparison: means with intervals, curves over epochs, quality beside cost, and classes."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlexp.comparison.compare import Comparison, Summary
from dlexp.comparison.entries import class_names
from dlexp.comparison.groups import Group
from dlexp.comparison.predictions import read_answers
from dlexp.errors import StoreError
from dlexp.reports.figure import longest_inches, make_figure, save_figure, shorten
from dlexp.runs.points import read_points
from dlexp.runs.run import POINTS_FILE

_MOST_GROUPS = 40  # in the picture of the intervals
_MOST_CURVES = 8  # more colors cannot be told apart
_MOST_CLASSES = 30
_MUCH_MORE = 10  # from which on an axis is logarithmic
_LONGEST_NAME = 48
_POINTS_SIZE = 9.0
_WIDTH = 8.0


def draw_pictures(comparison: Comparison, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Draws what the runs have recorded into PNG files.

    Args:
        comparison: of the runs.
        folder: for the files.

    Returns:
        The files by name: intervals, curves, cost, classes; those without data are left out.
    """
    drawings: Mapping[str, Callable[[Comparison], Figure | None]] = {
        "intervals": _draw_intervals,
        "curves": _draw_curves,
        "cost": _draw_cost,
        "classes": _draw_classes,
    }
    drawn = {}
    for name, draw in drawings.items():
        if (figure := draw(comparison)) is not None:
            drawn[name] = folder / f"{name}.png"
            save_figure(figure, drawn[name])
    return drawn


def _measured(comparison: Comparison) -> list[Summary]:
    return [summary for summary in comparison.summaries if summary.mean is not None]


def _draw_intervals(comparison: Comparison) -> Figure | None:
    """A line for each group: its runs as rings, its mean as a point, the 95 % interval as a bar."""
    shown = _measured(comparison)[:_MOST_GROUPS]
    names = [shorten(summary.group.name, _LONGEST_NAME) for summary in shown]
    left = 0.3 + longest_inches(names, _POINTS_SIZE)
    figure = make_figure(left + 5, 0.8 + 0.32 * len(shown), margins=(left, 0.6, 0.2, 0.1))
    axes = figure.add_subplot()
    for height, summary in enumerate(shown):
        mean = summary.mean
        assert mean is not None
        color = "black" if summary.group.name == comparison.baseline else "tab:blue"
        values = list(summary.group.values.values())
        axes.plot(values, [height] * len(values), "o", color=color, fillstyle="none", markersize=5, alpha=0.6)
        axes.plot([mean.value], [height], "o", color=color, markersize=6)
        if mean.interval:
            axes.plot([mean.interval.low, mean.interval.high], [height, height], color=color, linewidth=2)
    axes.set_yticks(range(len(shown)), names, fontsize=_POINTS_SIZE)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel(comparison.unit.metric)
    axes.grid(alpha=0.3, axis="x")
    return figure


def _draw_curves(comparison: Comparison) -> Figure | None:
    """The metric of validation over the epochs: means over the seeds, and the range of the runs as a band."""
    key = comparison.unit.metric.replace("test_", "val_", 1)
    curves = {
        summary.group.name: table
        for summary in _measured(comparison)[:_MOST_CURVES]
        if not (table := _curves_of(summary.group, key)).empty
    }
    if not curves:
        return None
    figure = make_figure(_WIDTH, 4.5 + 0.2 * len(curves))
    axes = figure.add_subplot()
    for name, table in curves.items():
        (line,) = axes.plot(
            table.index, table.mean(axis=1), label=shorten(name, _LONGEST_NAME), marker="o" if len(table) == 1 else None
        )
        if table.shape[1] > 1:
            axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=line.get_color(), alpha=0.15)
    axes.set_xlabel("epoch")
    axes.set_ylabel(key)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    figure.legend(fontsize=_POINTS_SIZE, loc="outside lower center", ncols=2)
    return figure


def _curves_of(group: Group, key: str) -> pd.DataFrame:
    """The values of a metric by epoch (rows) and run (columns)."""
    of_runs = {}
    for entry in group.entries:
        points = read_points(entry.run.path / POINTS_FILE)
        values = {point.epoch: point.value for point in points if point.key == key and np.isfinite(point.value)}
        if values:
            of_runs[entry.run.id] = pd.Series(values)
    return pd.DataFrame(of_runs).sort_index()


def _draw_cost(comparison: Comparison) -> Figure | None:
    """The metric over the duration of a training and over the number of parameters, a point for each group."""
    shown = _measured(comparison)[:_MOST_GROUPS]
    costs = {"duration of a training [s]": "seconds", "parameters": "num_parameters"}
    known = {label: name for label, name in costs.items() if any(_median(one, name) for one in shown)}
    if len(shown) < 2 or not known:
        return None
    figure = make_figure(4.2 * len(known), 3.6)
    for number, (label, name) in enumerate(known.items(), start=1):
        axes, drawn = figure.add_subplot(1, len(known), number), []
        for summary in shown:
            cost = _median(summary, name)
            assert summary.mean is not None
            if cost:
                color = "black" if summary.group.name == comparison.baseline else "tab:blue"
                axes.plot([cost], [summary.mean.value], "o", color=color)
                drawn.append(cost)
                if len(shown) <= _MOST_CURVES:
                    _annotate(axes, summary.group.name, cost, summary.mean.value)
        if max(drawn) > _MUCH_MORE * min(drawn):
            axes.set_xscale("log")
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlabel(label)
        axes.set_ylabel(comparison.unit.metric)
        axes.margins(x=0.3, y=0.15)
        axes.grid(alpha=0.3)
    return figure


def _annotate(axes: Axes, name: str, x: float, y: float) -> None:
    axes.annotate(shorten(name, 24), (x, y), xytext=(0, 6), textcoords="offset points", fontsize=8, ha="center")


def _median(summary: Summary, name: str) -> float:
    known = [float(entry.columns[name]) for entry in summary.group.entries if entry.columns.get(name)]
    return float(np.median(known)) if known else 0.0


def _draw_classes(comparison: Comparison) -> Figure | None:
    """How often the best other group is right more often than the baseline, class by class, on the test split."""
    if not comparison.pairs:
        return None
    groups = {summary.group.name: summary.group for summary in comparison.summaries}
    a, b = comparison.pairs[0].a, comparison.baseline
    try:
        differences = 100 * (_right_by_class(groups[a]) - _right_by_class(groups[b]))
    except StoreError:
        return None
    differences = differences.dropna().sort_values()
    if len(differences) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        differences = pd.concat([differences[:half], differences[-half:]])
    known = dict(enumerate(class_names(groups[b].entries[0].run)))
    names = [shorten(known.get(label, str(label)), 30) for label in differences.index]
    left = 0.7 + longest_inches(names, _POINTS_SIZE)
    figure = make_figure(left + 5, 1.3 + 0.24 * len(names), margins=(left, 0.6, 0.2, 0.6))
    axes = figure.add_subplot()
    axes.barh(range(len(names)), differences.to_numpy(), color=np.where(differences > 0, "tab:blue", "tab:orange"))
    axes.set_yticks(range(len(names)), names, fontsize=_POINTS_SIZE)
    axes.set_xlabel("difference of the recall [points]")
    axes.set_ylabel("class")
    title = f"{shorten(a, 36)}\nminus {shorten(b, 36)}, by class"
    axes.set_title(title, fontsize=10)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(alpha=0.3, axis="x")
    return figure


def _right_by_class(group: Group) -> pd.Series:
    """Share of right answers on test by class, the mean over the runs of a group."""
    of_runs: Sequence[pd.Series] = [
        (table["label"] == table["prediction"]).groupby(table["label"]).mean()
        for table in (read_answers(entry.run, "test") for entry in group.finished.values())
    ]
    return pd.concat(of_runs, axis=1).mean(axis=1)
