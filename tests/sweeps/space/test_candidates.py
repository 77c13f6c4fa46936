"""Where the trials of a sweep come from: exactly one of three flags."""

import pathlib
from typing import Any

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import ConfigError
from dlexp.sweeps.space.candidates import read_candidates
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space

BASE = ExperimentConfig.of(epochs=7)
SPACE = "seed=range(3)"


def read(**given: Any) -> Space | Commands:
    return read_candidates({"space": "", "space_file": "", "runs_file": ""} | given, BASE)


def test_space_is_read() -> None:
    assert read(space=SPACE) == Space.parse(SPACE, BASE)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_space_is_read_from_a_file(tmp_path: pathlib.Path, mark: str) -> None:
    path = tmp_path / "space.json"
    path.write_text(mark + '{"seed": {"range": [3]}}', encoding="utf-8")
    assert read(space_file=str(path)) == Space.parse(SPACE, BASE)


def test_lines_are_read_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "runs.txt"
    path.write_text("--seed=1\n--seed=2\n", encoding="utf-8")
    candidates = read(runs_file=str(path))
    assert list(candidates.grid()) == [{"seed": 1}, {"seed": 2}]
    assert candidates.base == BASE


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "none"),
        ({"space": SPACE, "runs_file": "a"}, "space and runs_file"),
        ({"space": SPACE, "space_file": "b", "runs_file": "a"}, "space and space_file and runs_file"),
    ],
)
def test_none_and_several_are_refused(given: dict[str, str], found: str) -> None:
    with pytest.raises(ConfigError, match=f"^dlexp sweep needs one of .* and got {found}$"):
        read(**given)


@pytest.mark.parametrize("content", [None, b"\xff\xfe{}"])
def test_space_file_that_cannot_be_read_is_refused(tmp_path: pathlib.Path, content: bytes | None) -> None:
    path = tmp_path / "space.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^--space_file={path} cannot be read: "):
        read(space_file=str(path))
