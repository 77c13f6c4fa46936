"""JSON files that hold one object."""

import json
import pathlib

import pytest

from dlexp.machine.json_files import read_json, read_json_if_there, write_json


def test_what_was_written_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "run.json"
    write_json(path, {"name": "Zürich", "metrics": {"loss": 0.5}})
    assert read_json(path) == read_json_if_there(path) == {"name": "Zürich", "metrics": {"loss": 0.5}}
    assert path.read_text().count("\n") == 6


def test_a_value_that_json_lacks_leaves_the_file_as_it_was(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"epoch": 1})
    with pytest.raises(TypeError):
        write_json(path, {"epoch": object()})
    assert read_json(path) == {"epoch": 1}


def test_a_file_that_is_not_there_is_empty_only_where_that_may_be(tmp_path: pathlib.Path) -> None:
    assert read_json_if_there(tmp_path / "run.json") == {}
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "run.json")


def test_a_damaged_file_is_never_taken_for_an_empty_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(json.JSONDecodeError):
        read_json_if_there(tmp_path / "run.json")
