"""Names that a person takes for one are found; others are not."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.datasets.inspection.similar_names import similar_names

DECOMPOSED, COMPOSED = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFD", "NFC"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (DECOMPOSED, COMPOSED),
        ("Cat", "cat"),
        ("cat ", "cat"),
        ("traffic light", "traffic  light"),
        ("traffic_light", "traffic-light"),
        ("cat", "c\u0430t"),  # a Cyrillic letter
        ("A", "\u0391"),  # Alpha
        ("cat", "ca\u200bt"),  # an invisible space
        ("stra\u00dfe", "STRASSE"),
        ("site\u00a0A", "site A"),
    ],
)
def test_names_that_look_alike_are_found(one: str, other: str) -> None:
    assert similar_names(["dog", one, "horse", other]) == [tuple(sorted((one, other)))]


def test_names_that_differ_to_the_eye_are_not() -> None:
    assert similar_names(["cat", "cats", "caf\u00e9", "cafe", "1", "10", "\u6771\u4eac", "\u4eac\u90fd"]) == []


@given(st.text(min_size=1))
def test_any_text_looks_like_itself_composed_or_decomposed(name: str) -> None:
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} | {name}
    assert similar_names(sorted(forms)) == ([tuple(sorted(forms))] if len(forms) > 1 else [])
