"""The grammar of `--dataset`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.dataset_expression import SourceTerm, format_expression, parse_expression
from dlexp.errors import ConfigError

KNOWN = ("digits", "folder", "idx", "npz")


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("digits", [SourceTerm("digits", "")]),
        ("folder:a/b", [SourceTerm("folder", "a/b")]),
        ("folder:a*2+digits*0.5", [SourceTerm("folder", "a", 2), SourceTerm("digits", "", 0.5)]),
        ("folder:c++/x+y+idx:b", [SourceTerm("folder", "c++/x+y"), SourceTerm("idx", "b")]),
        ("folder:a+tfsd:b", [SourceTerm("folder", "a"), SourceTerm("tfsd", "b")]),  # unknown: refused by its name later
        ("folder:a*b/c", [SourceTerm("folder", "a*b/c")]),
    ],
)
def test_sources_are_told_apart_even_where_paths_hold_a_plus(text: str, terms: list[SourceTerm]) -> None:
    assert parse_expression(text, KNOWN) == terms


@pytest.mark.parametrize("weight", ["0", "-1", "x", "inf", "nan", ""])
def test_weight_that_is_no_number_above_0_is_refused(weight: str) -> None:
    with pytest.raises(ConfigError, match="number above 0"):
        parse_expression(f"digits*{weight}", KNOWN)


@given(
    st.lists(
        st.builds(
            SourceTerm, st.just("folder"), st.text("ab/+-_.", min_size=1), st.sampled_from([0.5, 1.0, 2.0, 10.0])
        ),
        min_size=1,
    )
)
def test_what_is_written_reads_back_equal(terms: list[SourceTerm]) -> None:
    assert parse_expression(format_expression(terms), KNOWN) == terms
