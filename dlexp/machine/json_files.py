"""JSON files that hold one object: read, and written whole or not at all."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.machine.atomic import write_text_atomically


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        OSError: the file is not there or cannot be read.
        ValueError: it holds no JSON, or no object.
    """
    return dict(json.loads(path.read_text(encoding="utf-8")))


def read_json_if_there(path: pathlib.Path) -> dict[str, Any]:
    """The object in a file; an empty one if there is no file, as a process may be killed before it writes it."""
    return read_json(path) if path.is_file() else {}


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes an object to a file, for people to read: indented, whole or not at all."""
    write_text_atomically(path, json.dumps(dict(values), indent=2) + "\n")
