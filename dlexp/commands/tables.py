"""Tables that commands print: selected, sorted, and written for people, for scripts or for spreadsheets."""

import json
import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dlexp.config.json_values import json_value
from dlexp.errors import unknown_name

FORMATS = ("table", "json", "csv")


def write_table(table: pd.DataFrame, *, output_format: str, columns: Sequence[str]) -> None:
    """Prints a table to stdout.

    Args:
        table: the rows.
        output_format: `table` (the chosen columns, for people), `json` (a list of flat objects with all columns, NaN as
            null) or `csv` (all columns).
        columns: what `table` shows; those that the table lacks or that are empty in all rows are left out.
    """
    if output_format not in FORMATS:
        raise unknown_name("format", output_format, FORMATS)
    if output_format == "json":
        print(json.dumps(json_value(table.to_dict("records"), strict=True), indent=2))
    elif output_format == "csv":
        print(table.to_csv(index=False), end="")
    else:
        _print_table(table[[name for name in columns if name in table and not table[name].isna().all()]])


def _print_table(table: pd.DataFrame) -> None:
    """Prints aligned columns, numbers to the right; on a terminal, lines are cut at its width.

    Not with rich: measuring and wrapping every cell takes it 3 s for 1,000 rows.
    """
    columns = []
    for name in table.columns:
        cells = [str(name), *map(_cell, table[name])]
        width = max(map(len, cells))
        pad = str.rjust if pd.api.types.is_numeric_dtype(table[name]) else str.ljust
        columns.append([pad(cell, width) for cell in cells])
    most = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for cells_of_row in zip(*columns, strict=True):
        line = "  ".join(cells_of_row).rstrip()
        print(line if len(line) <= most else line[: most - 1] + "\N{HORIZONTAL ELLIPSIS}")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}" if abs(value) < 1e-3 else f"{value:.6g}"
    return "" if value is None else str(value)
