"""Registries: names found, listed and refused; plug-ins imported."""

import ast
import contextlib
import pathlib

import pytest

from dlexp.errors import ConfigError, UnknownNameError
from dlexp.registry import APPLICATIONS, AUGMENTATIONS, MODELS, SOURCES, TRACKERS, Registry

ROOT = pathlib.Path(__file__).parent.parent
BUILTIN = (MODELS, SOURCES, AUGMENTATIONS, TRACKERS)


def test_registered_builder_is_found_by_its_name() -> None:
    registry = Registry("model", {})

    @registry.register("one")
    def build() -> int:
        return 1

    assert registry.get("one") is build
    assert registry.names() == ["one"]


def test_name_that_is_taken_is_refused_naming_both() -> None:
    registry = Registry("model", {})
    registry.register("one")(len)
    with pytest.raises(ConfigError, match=r"registered twice, by builtins\.len and by builtins\.max"):
        registry.register("one")(max)


def test_override_ends_with_its_block_even_if_that_fails() -> None:
    registry = Registry("model", {})
    registry.register("one")(len)
    with contextlib.suppress(KeyError), registry.override("one", max), registry.override("two", min):
        assert (registry.get("one"), registry.get("two")) == (max, min)
        raise KeyError
    assert registry.names() == ["one"]
    assert registry.get("one") is len


def test_override_of_a_builtin_name_gives_it_back() -> None:
    with SOURCES.override("digits", len):
        assert SOURCES.get("digits") is len
    assert SOURCES.get("digits").__module__ == "dlexp.datasets.sources.arrays"


def test_what_a_plugin_registers_is_forgotten_at_the_end_of_an_isolated_block() -> None:
    registry = Registry("model", {"builtin": "the_module_of_it"})
    with registry.isolated():
        registry.register("builtin")(len)  # as its module does when it is first imported
        registry.register("of_a_plugin")(max)
    assert registry.names() == ["builtin"]
    assert registry.get("builtin") is len


def test_unknown_name_lists_the_nearest_and_all() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown model 'resnet2': did you mean .*resnet20.*Known models: .*mlp"
    ):
        MODELS.get("resnet2")


def registered_in_files(kind: str) -> dict[str, str]:
    """Module by name of every `@register_<kind>("name")` in dlexp; not of names that are variables."""
    found = {}
    for path in sorted((ROOT / "dlexp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id=function), args=[ast.Constant(value=name)]):
                    if function == f"register_{kind}":
                        found[str(name)] = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return found


@pytest.mark.parametrize("registry", BUILTIN, ids=lambda registry: registry.kind)
def test_every_name_that_dlexp_registers_is_in_the_table(registry: Registry) -> None:
    table = {name: registry.builtin_module(name) for name in registry.builtin_names()}
    missing = dict(registered_in_files(registry.kind).items() - table.items())
    assert not missing, f"the table _{registry.kind.upper()}S in dlexp/registry.py lacks {missing}"


@pytest.mark.parametrize("registry", BUILTIN, ids=lambda registry: registry.kind)
def test_every_name_of_the_table_is_registered_by_its_module(registry: Registry) -> None:
    registered = registered_in_files(registry.kind) | dict.fromkeys(APPLICATIONS, "dlexp.models.applications")
    for name in registry.builtin_names():
        module = registry.builtin_module(name)
        assert registered.get(name) == module, f"dlexp/registry.py has {name!r} in {module}: register it there"
        assert callable(registry.get(name))
