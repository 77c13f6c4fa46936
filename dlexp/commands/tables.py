"""Prints the tables of commands as text, JSON or CSV, and defines the flags of commands that list."""

import json
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlexp.config.json_values import json_value
from dlexp.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "json", "csv")
LISTING_FLAGS: dict[str, tuple[Any, str]] = {
    "store": ("mlruns", "Folder of the runs."),
    "where": ("", "Pandas query over the columns, such as \"test_accuracy > 0.9 and model == 'resnet20'\"."),
    "format": (
        "table",
        "Output format: table (for people), json (a list of flat objects) or csv; json and csv have all columns.",
    ),
}
SORT_HELP = "Column to sort by; with - in front, the largest value comes first."
_METRICS = ("val_", "test_", "score")  # shown with four decimals
_SHORT = {"run_id": 8, "started": 16}


def print_listing(
    table: "pd.DataFrame",
    options: Mapping[str, Any],
    *,
    columns: Sequence[str],
    dropped_first: Sequence[str] = (),
    nothing: str,
    hint: str,
) -> None:
    """Prints the rows that a command lists to stdout; if there are none, reports that on stderr.

    Args:
        table: the rows.
        options: values of `LISTING_FLAGS`.
        columns: columns that the format `table` shows.
        dropped_first: see `write_table`.
        nothing: message if there is no row: "no runs".
        hint: what the user can do then.
    """
    check_format(options["format"])
    if table.empty:
        matching = " that match" if options["where"] else ""
        print(f"{nothing}{matching} in store {options['store']!r}: {hint}", file=sys.stderr)
    elif options["format"] == "table":
        table = table.assign(**{name: table[name].str[:width] for name, width in _SHORT.items() if name in table})
    write_table(table, output_format=options["format"], columns=columns, dropped_first=dropped_first)


def check_format(output_format: str) -> None:
    """Raises UnknownNameError if `write_table` does not have an output format."""
    if output_format not in FORMATS:
        raise unknown_name("format", output_format, FORMATS)


def write_table(
    table: "pd.DataFrame", *, output_format: str, columns: Sequence[str], dropped_first: Sequence[str] = ()
) -> None:
    """Prints a table to stdout.

    Args:
        table: the rows.
        output_format: `table` (the chosen columns, for people), `json` (a list of flat objects with all columns, NaN as
            null) or `csv` (all columns).
        columns: columns that `table` shows; those that are missing, or empty in all rows, are left out.
        dropped_first: columns that are left out, in this order, until the table is as wide as the terminal.
    """
    check_format(output_format)
    if output_format == "json":
        print(json.dumps(json_value(table.to_dict("records"), strict=True), indent=2))
    elif output_format == "csv":
        print(table.to_csv(index=False), end="")
    else:
        _print_table(table[[name for name in columns if name in table and not table[name].isna().all()]], dropped_first)


def _print_table(table: "pd.DataFrame", dropped_first: Sequence[str]) -> None:
    """Prints aligned columns, numbers to the right; on a terminal, lines are cut at its width.

    rich is not used, because it takes 3 s to measure and wrap the cells of 1,000 rows.
    """
    columns = {str(name): _aligned(table[name]) for name in table.columns}
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    left_out = []
    for name in dropped_first:
        if sum(len(cells[0]) + 2 for cells in columns.values()) - 2 <= most:
            break
        if columns.pop(name, None):
            left_out.append(name)
    for cells_of_row in zip(*columns.values(), strict=True):
        line = "  ".join(cells_of_row).rstrip()
        print(line if len(line) <= most else line[: most - 1] + "\N{HORIZONTAL ELLIPSIS}")
    if left_out:
        print(f"left out, as the terminal is narrow: {', '.join(left_out)}", file=sys.stderr)


def _aligned(column: "pd.Series[Any]") -> list[str]:
    """The cells of a column below its name, all of the same width."""
    from pandas.api.types import is_numeric_dtype

    name = str(column.name)
    cells = [name, *(_cell(value, is_metric=name.startswith(_METRICS)) for value in column)]
    pad = str.rjust if is_numeric_dtype(column) else str.ljust
    return [pad(cell, max(map(len, cells))) for cell in cells]


def _cell(value: Any, *, is_metric: bool) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:.4f}" if is_metric else f"{value:.4g}" if abs(value) < 1e-3 else f"{value:.6g}"
    return "" if value is None else str(value)
