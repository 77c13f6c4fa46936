"""Draws the peak memory over the batch size: a line per model, and the budget."""

import pathlib
from collections.abc import Sequence

from matplotlib.ticker import FuncFormatter

from dlexp.memory.budget import Budget
from dlexp.memory.largest_batch import LargestBatch
from dlexp.reports.figure import make_figure, save_figure, shorten

_GIB = 2**30
_LONGEST_NAME = 40
_COLUMNS = 2


def draw_memory(found: Sequence[LargestBatch], budget: Budget, path: pathlib.Path) -> None:
    """Writes a PNG: batch size on a logarithmic axis, peak memory in GiB; the chosen batches are filled points.

    Args:
        found: the models; those of which nothing was measured are left out.
        budget: drawn as a line, and the margin below it as a band.
        path: of the file.
    """
    figure = make_figure(8, 5 + 0.2 * len(found) / _COLUMNS)
    axes = figure.add_subplot()
    shown = [one for one in found if one.peaks()]
    largest = max((one.size or max(one.probes) for one in shown), default=1)
    for one in shown:
        sizes = list(one.peaks())
        ends = sorted({*sizes, *(sizes[0] * (2 * largest / sizes[0]) ** (step / 60) for step in range(61))})
        name = f"{shorten(one.name, _LONGEST_NAME)}: {one.size or 'none'}"
        (line,) = axes.plot(ends, [one.peak_at(size) / _GIB for size in ends], linewidth=1.2, label=name)
        axes.plot(
            sizes,
            [peak / _GIB for peak in one.peaks().values()],
            "o",
            color=line.get_color(),
            fillstyle="none",
            markersize=5,
        )
        if one.size:
            axes.plot([one.size], [one.peak_at(one.size) / _GIB], "o", color=line.get_color(), markersize=7)
    total, usable = budget.total_bytes / _GIB, budget.usable_bytes / _GIB
    axes.axhline(total, color="black", linewidth=1.2)
    axes.axhspan(usable, total, color="black", alpha=0.1, linewidth=0)
    axes.annotate(
        "budget, and its margin", (0.01, total), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", fontsize=9,
    )  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(0, 1.25 * total)
    axes.set_xlabel("batch size (circles: measured; filled: the largest that fits)")
    axes.set_ylabel("peak memory of a training [GiB]")
    axes.set_title("Peak memory over batch size")
    axes.grid(alpha=0.3)
    if shown:
        figure.legend(title="largest batch", fontsize=9, loc="outside lower center", ncols=min(len(shown), _COLUMNS))
    save_figure(figure, path)
