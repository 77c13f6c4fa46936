"""Conformance suites run test by test, to see that each test finds what it is for."""

import inspect
from collections.abc import Sequence
from typing import Any

import pytest


def names_of(suite: type) -> list[str]:
    """Names of the tests of a conformance suite."""
    return [name for name in vars(suite) if name.startswith("test_")]


def find_test(suite: type, part: str) -> str:
    """The one test whose name contains this part."""
    (name,) = [name for name in names_of(suite) if part in name]
    return name


def run_suite_test(suite: type, name: str, subject: Any, request: pytest.FixtureRequest) -> None:
    """Calls a test with what it looks at for its first argument, and the fixtures of pytest that it asks for."""
    test = getattr(suite(), name)
    fixtures: Sequence[str] = list(inspect.signature(test).parameters)[1:]
    test(subject, **{fixture: request.getfixturevalue(fixture) for fixture in fixtures})
