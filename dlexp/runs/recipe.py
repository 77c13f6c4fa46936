"""Recipes: everything needed to make the dataset of a run again, and to verify that it is the same.

A recipe is a JSON object, or lines of a flagfile, with the fields of `RECIPE_FIELDS`. Paths in it are relative to its
`data_dir`; if the data has moved, `--data_dir` replaces that folder.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dlexp.config.class_map import class_map_text, read_class_map
from dlexp.config.dataset_expression import SourceTerm, format_expression, parse_expression
from dlexp.config.experiment_config import ExperimentConfig, config_fields, field_names
from dlexp.config.sections import DataConfig
from dlexp.errors import ConfigError, unknown_name
from dlexp.registry import SOURCES
from dlexp.runs.run import RECIPE_FILE, Run
from dlexp.runs.store import find_run

RECIPE_FIELDS = field_names("makes_dataset")
_PREFIX = "recipe:"
_PATH_KINDS = ("folder", "npz", "idx", "table", "pack")
_MAX_CHARS = 1_000_000
# These may differ from the recipe and replace its values: a name and a place do not change the dataset.
_MAY_DIFFER = ("dataset_name", "data_dir")


def make_recipe(data: DataConfig, *, dataset_name: str, dataset_id: str, split_method: str) -> dict[str, Any]:
    """Makes the recipe of a dataset.

    Args:
        data: the config section that the dataset was opened with.
        dataset_name: name of the dataset.
        dataset_id: ID of the dataset; opening the recipe fails if the data has another ID.
        split_method: how the dataset was split, where `data` may say auto.
    """
    recipe = {name: getattr(data, name) for name in RECIPE_FIELDS}
    terms, root = parse_expression(data.dataset, SOURCES.names()), os.path.abspath(data.data_dir)
    if all(SOURCES.is_builtin(term.kind) for term in terms):  # the text of a plug-in's source need not be a path
        paths = {term: os.path.abspath(os.path.join(root, term.spec)) for term in terms if _is_path(term, root)}
        root = os.path.commonpath([os.path.dirname(path) for path in paths.values()]) if paths else ""
        terms = [replace(term, spec=os.path.relpath(paths[term], root)) if term in paths else term for term in terms]
    return recipe | {
        "dataset": format_expression(terms), "data_dir": root, "dataset_name": dataset_name, "dataset_id": dataset_id,
        "split_method": split_method,
        "class_map": class_map_text(read_class_map(data.class_map, data.data_dir)) if data.class_map else "",
    }  # fmt: skip


def _is_path(term: SourceTerm, root: str) -> bool:
    return term.kind in _PATH_KINDS or (term.kind == "hf" and os.path.isdir(os.path.join(root, term.spec)))


def recipe_text(recipe: Mapping[str, Any], *, as_flags: bool = False) -> str:
    """Returns a recipe as JSON text, or as the lines of a flagfile."""
    if as_flags:
        return "".join(f"--{name}={value}\n" for name, value in recipe.items())
    return json.dumps(dict(recipe), indent=2) + "\n"


def resolve_recipe(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config with references replaced by contents: the recipe of `dataset=recipe:...`, and `class_map`.

    Raises:
        ConfigError: the recipe or the class map is missing or wrong, or a field differs from the recipe.
        RunNotFoundError: there is no such recipe file and no such run.
    """
    data = config.data
    if not data.dataset.startswith(_PREFIX):
        if not data.class_map:
            return config
        return config.replace(class_map=class_map_text(read_class_map(data.class_map, data.data_dir)))
    recipe = _read_recipe(data.dataset.removeprefix(_PREFIX), config.tracking.store)
    default, given = DataConfig(), {name: getattr(data, name) for name in RECIPE_FIELDS if name != "dataset"}
    changed = {name: value for name, value in given.items() if value != getattr(default, name)}
    differing = [
        f"{name}={value!r} (the recipe has {recipe[name]!r})"
        for name, value in changed.items()
        if name not in _MAY_DIFFER and name in recipe and value != recipe[name]
    ]
    if differing:
        raise ConfigError(
            f"{data.dataset} cannot be used with {', '.join(differing)}: leave that out, or give a --dataset without "
            "a recipe"
        )
    return config.replace(**recipe | changed)


def config_of_moved_data(run: Run, data_dir: str) -> ExperimentConfig:
    """Returns the config of a run whose data has moved to another folder; its ID is not checked.

    Args:
        run: it has a recipe.
        data_dir: folder that the paths of the recipe are now relative to.

    Raises:
        ConfigError: the recipe is missing or wrong.
    """
    plain = {name: getattr(DataConfig(), name) for name in RECIPE_FIELDS}
    recipe = {"dataset": f"{_PREFIX}{run.path / RECIPE_FILE}", "data_dir": data_dir}
    return resolve_recipe(run.config().replace(**plain | recipe)).replace(dataset_id="")


def _read_recipe(reference: str, store: str) -> dict[str, Any]:
    path = pathlib.Path(reference)
    if not path.is_file():
        path = find_run(reference, store).path / RECIPE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"recipe {str(path)!r} cannot be read: {err}") from err
    if len(text) > _MAX_CHARS:
        raise ConfigError(f"recipe {str(path)!r} of {len(text):,} characters is too large: at most {_MAX_CHARS:,}")
    recipe = _parse_json(text, path) if text.lstrip().startswith("{") else _parse_flags(text, path)
    for name in recipe:
        if name not in RECIPE_FIELDS:
            raise ConfigError(f"recipe {str(path)!r}: {unknown_name('field', name, RECIPE_FIELDS)}")
    if "dataset" not in recipe:
        raise ConfigError(f"recipe {str(path)!r} names no dataset: add the field dataset")
    return recipe


def _parse_json(text: str, path: pathlib.Path) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"recipe {str(path)!r} is not valid JSON: {err}") from err


def _parse_flags(text: str, path: pathlib.Path) -> dict[str, Any]:
    recipe: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, found, value = line.strip().removeprefix("--").partition("=")
        if not found:
            raise ConfigError(f"line {number} of recipe {str(path)!r} is not --name=value: {line[:100]!r}")
        kind = config_fields()[name].type if name in RECIPE_FIELDS else str
        try:
            recipe[name] = kind(value) if kind in (int, float) else value
        except ValueError as err:
            raise ConfigError(f"line {number} of recipe {str(path)!r}: {name} cannot be {value!r}") from err
    return recipe
