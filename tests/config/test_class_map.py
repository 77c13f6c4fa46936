"""Maps that rename classes."""

import pathlib

import pytest

from dlexp.config.class_map import class_map_text, read_class_map
from dlexp.errors import ConfigError


def test_map_is_read_from_a_file_or_as_it_is(tmp_path: pathlib.Path) -> None:
    (tmp_path / "map.json").write_text('{"cat": "animal", "dog": null}')
    expected = {"cat": "animal", "dog": None}
    assert read_class_map("map.json", str(tmp_path)) == expected
    assert read_class_map(class_map_text(expected)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ', "not valid JSON"),
        ('{"a": 1}', "object of class names"),
        ('{"a": ""}', "object of class names"),
        ('{"a":' * 10_000, "not valid JSON"),
        ("{" + " " * 1_000_001, "too large"),
        ("missing.json", "cannot be read"),
    ],
)
def test_what_is_no_map_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_class_map(text)
