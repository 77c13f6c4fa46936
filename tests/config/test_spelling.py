"""How values of the config are spelled as text."""

import pytest

from dlexp.config.spelling import parse_names


@pytest.mark.parametrize(
    ("text", "names"), [("", ()), (" , ,", ()), ("flip", ("flip",)), (" flip , crop,flip,", ("flip", "crop", "flip"))]
)
def test_names_are_parted_by_commas_and_empty_ones_left_out(text: str, names: tuple[str, ...]) -> None:
    assert parse_names(text) == names
