"""A built-in tracker is a module, a row of a table and its requirements: what is forgotten is named here."""

import ast
import configparser
import dataclasses
import importlib
import pathlib
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import dlexp
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.sections import TrackingConfig
from dlexp.registry import TRACKERS

ROOT = pathlib.Path(dlexp.__file__).parents[1]
FOLDER = ROOT / "dlexp" / "tracking"
_SWITCHES = {field.name for field in dataclasses.fields(TrackingConfig)} & set(TRACKERS.builtin_names())


def imported_packages(module: str) -> set[str]:
    """Packages of others that a module imports anywhere in it."""
    tree = ast.parse(pathlib.Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"dlexp"}


def required_distributions() -> set[str]:
    """What setup.cfg requires, with the extras but without what is for developers alone."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = [text for name, text in setup["options.extras_require"].items() if name != "dev"]
    lines = "\n".join([setup["options"]["install_requires"], *extras]).splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def distributions() -> Mapping[str, list[str]]:
    """Names of the distributions that install a package, by its name in imports; some differ, such as PIL."""
    return packages_distributions()


@pytest.mark.parametrize("name", TRACKERS.builtin_names())
def test_setup_cfg_requires_what_a_tracker_imports(name: str, distributions: Mapping[str, list[str]]) -> None:
    module, required = TRACKERS.builtin_module(name), required_distributions()
    for package in imported_packages(module):
        candidates = {canonicalize_name(distribution) for distribution in distributions.get(package, [package])}
        assert candidates & required, (
            f"{module} imports {package!r}, which setup.cfg does not require: add it to install_requires or to an extra"
        )


@pytest.mark.parametrize("name", TRACKERS.builtin_names())
def test_a_tracker_without_a_switch_is_chosen_by_its_name(name: str) -> None:
    assert TrackingConfig(trackers=(name,)).tracker_names().count(name) == 1


@pytest.mark.parametrize("name", sorted(_SWITCHES))
def test_a_field_named_like_a_tracker_switches_it(name: str) -> None:
    on, off = (ExperimentConfig.of(**{name: is_on}).tracking.tracker_names() for is_on in (True, False))
    assert name in on, f"tracker_names() in dlexp/config/sections.py ignores --{name}"
    assert name not in off


def test_mlflow_comes_first_as_it_gives_a_run_its_id() -> None:
    assert TrackingConfig(trackers=("mine",)).tracker_names() == ["mlflow", "tensorboard", "mine"]
    assert TrackingConfig(tensorboard=False, wandb=True).tracker_names() == ["mlflow", "wandb"]
