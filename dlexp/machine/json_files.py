"""Reads JSON files that hold one object, and writes them atomically."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.machine.atomic import write_text_atomically


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads the object in a file.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: the file holds no JSON, or no object.
    """
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{str(path)!r} holds no JSON object")
    return values


def read_json_if_there(path: pathlib.Path) -> dict[str, Any]:
    """Reads the object in a file; returns an empty one if there is no file, as after an early kill of its writer."""
    return read_json(path) if path.is_file() else {}


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes an object to a file atomically, indented for people to read."""
    write_text_atomically(path, json.dumps(dict(values), indent=2) + "\n")
