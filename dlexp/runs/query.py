"""Rows of a table, selected by a pandas query and sorted by a column."""

import difflib

import pandas as pd

from dlexp.errors import ConfigError


def select_rows(table: pd.DataFrame, *, where: str, sort_by: str) -> pd.DataFrame:
    """The rows for which a pandas query holds, sorted by a column.

    Args:
        table: any table.
        where: a pandas query over its columns; empty: all rows.
        sort_by: a column; with `-` in front the largest come first; empty: as they are.

    Raises:
        ConfigError: the query cannot be understood, or a column is unknown.
    """
    if where:
        table = _query(table, where)
    if sort_by:
        column = sort_by.removeprefix("-")
        if column not in table.columns:
            raise ConfigError(f"sort_by={sort_by} names no column{_nearest_columns(column, table)}")
        table = table.sort_values(column, ascending=not sort_by.startswith("-"), kind="stable", na_position="last")
    return table.reset_index(drop=True)


def _query(table: pd.DataFrame, where: str) -> pd.DataFrame:
    # pandas raises whatever its parser, tokenizer or operators raise: there is no common class but Exception.
    try:
        return table.query(where, engine="python", local_dict={}, global_dict={})
    except Exception as err:
        unknown = getattr(err, "name", None) or str(err).split("'")[1] if "is not defined" in str(err) else ""
        hint = _nearest_columns(unknown, table) if unknown else f": {err}"
        raise ConfigError(
            f"--where={where!r} cannot be understood{hint}; an example is \"test_accuracy > 0.9 and model == 'mlp'\""
        ) from err


def _nearest_columns(column: str, table: pd.DataFrame) -> str:
    near = difflib.get_close_matches(column, list(table.columns), n=3, cutoff=0.4)
    listed = ", ".join(near) if near else ", ".join(table.columns)
    return f": there is no column {column!r}; {'near ones are' if near else 'columns are'} {listed}"
