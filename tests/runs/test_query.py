"""Rows selected by a pandas query, and what is said of a query that cannot be understood."""

import pandas as pd
import pytest

from dlexp.errors import ConfigError
from dlexp.runs.query import find_unknown_column, select_rows

COLUMNS = ["run", "accuracy", "model", "loss/train", "odd `name`", "learning_rate"]


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [[0, 0.5, "mlp", 0.4, 1, 0.1], [1, 0.9, "resnet20", 0.1, 2, 0.1], [2, 0.7, "mlp", 0.2, 3, 0.01]]
    return pd.DataFrame(rows, columns=COLUMNS)


@pytest.mark.parametrize(
    ("where", "runs"),
    [
        ("", [0, 1, 2]),
        ("accuracy > 0.6", [1, 2]),
        ("accuracy > 0.6 and model == 'mlp'", [2]),
        ("accuracy > 0.6 & model == 'mlp'", [2]),
        ("not (model in ['mlp'] or accuracy < 0.5)", [1]),
        ("`loss/train` < 0.3", [1, 2]),
        ("`odd ``name``` == 1", [0]),
        ("model.str.startswith('res')", [1]),
        ("accuracy < inf and index < 2", [0, 1]),
        ("model == 'acuracy = @x `y`' or learning_rate == 0.01", [2]),
    ],
)
def test_rows_for_which_a_query_holds(table: pd.DataFrame, where: str, runs: list[int]) -> None:
    assert list(select_rows(table, where=where, sort_by="")["run"]) == runs
    assert find_unknown_column(where, COLUMNS) is None


@pytest.mark.parametrize(
    ("where", "unknown", "nearest"),
    [
        ("acuracy > 0.6", "acuracy", "accuracy"),
        ("accuracy > 0.6 and modle == 'mlp'", "modle", "model"),
        ("not (modl in ['mlp'])", "modl", "model"),
        ("accuracy > 0.6 & modle == 'mlp'", "modle", "model"),
        ("`loss/trian` < 0.3", "loss/trian", "loss/train"),
        ("accuracy > @acuracy", "acuracy", "accuracy"),
        ("modle.str.startswith('res')", "modle", "model"),
        ("learning_rat + 1 > sin(accuracy)", "learning_rat", "learning_rate"),
        ("accuracy == xyz", "xyz", "columns are run, accuracy"),
    ],
)
def test_unknown_column_is_named_with_the_nearest(table: pd.DataFrame, where: str, unknown: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select_rows(table, where=where, sort_by="")
    assert f": there is no column {unknown!r}; " in str(caught.value)
    assert nearest in str(caught.value).partition("; ")[2]


def test_first_unknown_name_is_reported_whatever_its_depth() -> None:
    assert find_unknown_column("(1 + (2 * first)) > 0 and second > 0", []) == "first"


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("accuracy >", "invalid syntax"),
        ("accuracy.nothing > 1", "has no attribute 'nothing'"),
        ("model > 1", "dtype=str and int"),
        ("model = 'mlp'", "cannot assign"),
        ("(" * 5_000, ""),
    ],
)
def test_other_faults_of_a_query_are_reported_in_the_words_of_pandas(
    table: pd.DataFrame, where: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match="cannot be understood: ") as caught:
        select_rows(table, where=where, sort_by="")
    assert reason in str(caught.value)
    assert "there is no column" not in str(caught.value)


def test_rows_are_sorted_with_missing_values_last(table: pd.DataFrame) -> None:
    table.loc[1, "accuracy"] = float("nan")
    assert list(select_rows(table, where="", sort_by="accuracy")["run"]) == [0, 2, 1]
    assert list(select_rows(table, where="", sort_by="-accuracy")["run"]) == [2, 0, 1]


def test_unknown_column_to_sort_by_is_named_with_the_nearest(table: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="no column 'acuracy'; did you mean accuracy"):
        select_rows(table, where="", sort_by="-acuracy")
