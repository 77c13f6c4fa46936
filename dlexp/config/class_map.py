"""The mapping that renames classes, or leaves them out, when sources are joined: `--class_map`."""

import json
import pathlib
from collections.abc import Mapping

from dlexp.errors import ConfigError

ClassMap = Mapping[str, str | None]
_MAX_CHARS = 1_000_000


def read_class_map(text: str, data_dir: str = "") -> ClassMap:
    """Reads a class map.

    Args:
        text: a JSON object, or the path of a file that holds one.
        data_dir: folder that a relative path starts from.

    Returns:
        New names by `class` or `source/class`; None leaves the class out.

    Raises:
        ConfigError: the file cannot be read, or is not a JSON object of names.

    Example:
        >>> read_class_map('{"cat": "animal", "photos/blurred": null}')
        {'cat': 'animal', 'photos/blurred': None}
    """
    what = "class_map"
    if not text.startswith("{"):
        what = f"class_map {str(pathlib.Path(data_dir, text))!r}"
        try:
            text = pathlib.Path(data_dir, text).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"{what} cannot be read: {err}: give a JSON file, or the JSON object itself") from err
    if len(text) > _MAX_CHARS:
        raise ConfigError(f"{what} of {len(text):,} characters is too large: shorten it to at most {_MAX_CHARS:,}")
    try:
        mapping = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise ConfigError(f'{what} is not valid JSON: {err}: write {{"old": "new", "unwanted": null}}') from err
    if not isinstance(mapping, dict) or not all(
        new_name is None or (isinstance(new_name, str) and new_name) for new_name in mapping.values()
    ):
        raise ConfigError(f'{what} must be an object of class names or nulls: {{"old": "new", "unwanted": null}}')
    return mapping


def class_map_text(class_map: ClassMap) -> str:
    """Returns one line of JSON that `read_class_map` reads; "" for an empty map."""
    return json.dumps(dict(class_map), sort_keys=True) if class_map else ""
