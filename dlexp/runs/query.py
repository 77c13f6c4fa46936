"""Selects rows of a table with a pandas query, and sorts them by columns."""

import ast
import difflib
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from dlexp.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

# Syntax that pandas has and Python does not: `name` for any column name, and @ for a variable. Text in quotes also
# matches, so that a ` or @ inside quotes is not mistaken for this syntax.
_PANDAS_SYNTAX = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?P<column>(?:``|[^`])+)`|(?P<variable>@)""")
# Names that pandas defines in every query.
_NAMES_OF_PANDAS = {"index", "ilevel_0", "columns", "clevel_0", "inf", "Inf", "Timestamp", "datetime", "list", "tuple"}


def select_rows(table: "pd.DataFrame", *, where: str, sort_by: str) -> "pd.DataFrame":
    """Returns the rows for which a pandas query is true, sorted by columns.

    Args:
        table: any table.
        where: a pandas query over its columns, also those with a dot such as `model_args.width`; empty: all rows.
        sort_by: columns joined by commas: ascending, or descending with `-` in front; empty: the order stays.

    Raises:
        ConfigError: the query cannot be understood, or a column is unknown.
    """
    if where:
        table = _query(table, where)
    if sort_by:
        keys = [(key.removeprefix("-"), not key.startswith("-")) for key in sort_by.split(",")]
        for column, _ in keys:
            if column not in table.columns:
                raise ConfigError(f"sort_by={sort_by} cannot be used{_nearest_columns(column, table)}")
        # One stable sort for each key, the last key first: of several keys at once, pandas hashes the values, and lists
        # such as those of augment have no hash.
        for column, ascending in reversed(keys):
            table = table.sort_values(column, ascending=ascending, kind="stable", na_position="last")
    return table.reset_index(drop=True)


def _query(table: "pd.DataFrame", where: str) -> "pd.DataFrame":
    # The parser, tokenizer and operators of pandas raise many classes; Exception is their only common base.
    try:
        query = _quote_columns_with_dots(where, table.columns)
        return table.query(query, engine="python", local_dict={}, global_dict={})
    except Exception as err:
        unknown = find_unknown_column(_quote_columns_with_dots(where, table.columns), table.columns)
        hint = f": {err}" if unknown is None else _nearest_columns(unknown, table)
        raise ConfigError(
            f"--where={where!r} cannot be understood{hint}; an example is \"test_accuracy > 0.9 and model == 'mlp'\""
        ) from err


def _quote_columns_with_dots(where: str, columns: Collection[str]) -> str:
    """Puts names such as `model_args.width` in backticks: pandas would look for an attribute of a column."""
    dotted = sorted((name for name in map(str, columns) if "." in name), key=len, reverse=True)
    if not dotted:
        return where
    names = "|".join(map(re.escape, dotted))
    pattern = re.compile(
        rf"""(?P<kept>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`)|(?<![\w.])(?P<name>{names})(?![\w.])"""
    )
    return pattern.sub(lambda match: match["kept"] or f"`{match['name']}`", where)


def find_unknown_column(where: str, columns: Collection[str]) -> str | None:
    """Returns the first name in a pandas query that is not a column; None if there is none or the syntax is wrong.

    Example:
        >>> find_unknown_column("acuracy > 0.9 and `my model` == 'mlp'", ["accuracy", "my model"])
        'acuracy'
    """
    quoted: dict[str, str] = {}

    def as_python(match: re.Match[str]) -> str:
        if match["column"]:
            stand_in = f"_column_{len(quoted)}"
            quoted[stand_in] = match["column"].replace("``", "`")
            return stand_in
        return "" if match["variable"] else match[0]

    try:
        nodes = list(ast.walk(ast.parse(_PANDAS_SYNTAX.sub(as_python, where).strip(), mode="eval")))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    functions = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    found = [node for node in nodes if isinstance(node, ast.Name) and id(node) not in functions]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    names = [quoted.get(node.id, node.id) for node in found]
    return next((name for name in names if name not in columns and name not in _NAMES_OF_PANDAS), None)


def _nearest_columns(column: str, table: "pd.DataFrame") -> str:
    near = difflib.get_close_matches(column, list(table.columns), n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}" if near else f"columns are {', '.join(table.columns)}"
    return f": there is no column {column!r}; {hint}"
