"""Messages of errors: names that are not known, and what other libraries say."""

import pytest

from dlexp.errors import joined_lines, one_line, unknown_name


def test_unknown_name_names_the_nearest_and_all() -> None:
    message = str(unknown_name("model", "resnet2", ["mlp", "resnet20"]))
    assert message == "unknown model 'resnet2': did you mean resnet20? Known models: mlp, resnet20"


@pytest.mark.parametrize(
    ("err", "line"),
    [
        (OSError("disk is full\n[SQL: INSERT ...]"), "disk is full"),
        (ValueError("\n\n  it begins below  \r\nmore"), "it begins below"),
        (TimeoutError(), "TimeoutError"),
        (TimeoutError(" \n"), "TimeoutError"),
        (KeyError("name"), "'name'"),
        (RuntimeError("x" * 1000), "x" * 300),
    ],
)
def test_one_line_is_the_first_that_says_something(err: Exception, line: str) -> None:
    assert one_line(err) == line


def test_joined_lines_hold_the_reason_below_the_first_line() -> None:
    err = TypeError("cannot deserialize\n\n  config={...}\nException encountered: no get_config")
    assert joined_lines(err) == "cannot deserialize config={...} Exception encountered: no get_config"
    assert len(joined_lines(ValueError("word " * 1000))) == 1000


def test_unknown_name_uses_the_plural_of_what_was_looked_for() -> None:
    plurals = [str(unknown_name(kind, "x", [])).split("Known ")[1] for kind in ("search", "model", "policy")]
    assert plurals == ["searches: (none)", "models: (none)", "policies: (none)"]
