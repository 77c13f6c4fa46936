"""Keys of sources and classes: readable, legal for MLflow, and different for different names."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name

from dlexp.runs.metric_keys import metric_key

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=80) | st.text("ab@ -./0", max_size=6)


@pytest.mark.parametrize("name", ["site A", "photos", "Zürich", "東京", "a.b_c-d", "errors"])
def test_name_of_letters_digits_and_spaces_is_its_own_key(name: str) -> None:
    assert metric_key(name) == name


@given(NAMES, NAMES)
@example("site A", "site@A")
@example("Z rich", "Zürich")
@example("東京", "京都")
@example("a" * 64 + "1", "a" * 64 + "2")
@example("caf\u00e9", "cafe\u0301")
@example("", ".")
@example("a/b", "a-b")
def test_two_names_have_two_keys(one: str, other: str) -> None:
    assert (metric_key(one) == metric_key(other)) == (one == other)


@given(NAMES)
def test_no_name_is_the_key_of_another(name: str) -> None:
    key = metric_key(name)
    assert key == name or metric_key(key) != key


@given(NAMES)
@example("..")
@example("a//b")
@example("\n")
def test_key_is_legal_for_mlflow_short_and_always_the_same(name: str) -> None:
    key = metric_key(name)
    _validate_metric_name(f"test_accuracy/{key}")
    assert 0 < len(key) <= 64
    assert "/" not in key
    assert metric_key(name) == key
