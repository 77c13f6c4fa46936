"""Imports plug-ins: files or modules of the user, which register models, sources and more when they are imported."""

import contextlib
import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from dlexp.errors import ConfigError
from dlexp.machine.startup import importing_tensorflow


def load_plugins(plugins: Iterable[str]) -> None:
    """Imports plug-ins, which register their builders when they are imported.

    Args:
        plugins: paths of `.py` files, or names of importable modules.

    Raises:
        ConfigError: there is no such file or module, it fails while it is imported, or it registers a name that another
            file has registered, with dlexp or for Keras' serialization.
    """
    for plugin in plugins:
        try:
            # Most plug-ins import Keras.
            with contextlib.nullcontext() if "tensorflow" in sys.modules else importing_tensorflow():
                _import_file(pathlib.Path(plugin)) if plugin.endswith(".py") else _import_module(plugin)
        except ConfigError:
            raise
        except Exception as err:
            raise ConfigError(
                f"plugin {plugin!r} cannot be imported: {type(err).__name__}: {err}: correct it, or leave it out"
            ) from err


def _import_module(name: str) -> None:
    if name in sys.modules:
        return
    try:
        with _keeping_serialization_names():
            importlib.import_module(name)
    except BaseException:
        sys.modules.pop(name, None)
        raise


@contextlib.contextmanager
def _keeping_serialization_names() -> Iterator[None]:
    """Raises ConfigError if the block registers a Keras serialization name that an object of another file has.

    Keras keeps the last object of a name without a word, and would load checkpoints of both files with it. The first
    object is then restored.
    """
    before = dict(_serialization_names())
    yield
    names = _serialization_names()
    for name, first in before.items():
        second = names.get(name, first)
        if second is not first and _file_of(second) != _file_of(first):
            names.update(before)
            own_name = name.rpartition(">")[2]
            raise ConfigError(
                f"{own_name} is registered for Keras as {name!r} twice, by {_file_of(first)} and by "
                f"{_file_of(second)}: register each under its own package, as in "
                f'@keras.saving.register_keras_serializable(package="{pathlib.Path(_file_of(second)).stem}")'
            )


def _serialization_names() -> dict[str, Any]:
    """Returns Keras' table of registered classes and functions; empty if Keras is not imported."""
    keras: Any = sys.modules.get("keras")
    return {} if keras is None else keras.saving.get_custom_objects()


def _file_of(registered: Any) -> str:
    """Returns the file that defines a class or function; the name of its module if there is none."""
    module = getattr(registered, "__module__", "?")
    return getattr(sys.modules.get(module), "__file__", None) or module


def _import_file(path: pathlib.Path) -> None:
    if not path.is_file():
        raise ConfigError(
            f"plugin file {str(path)!r} does not exist: give a path that exists from {pathlib.Path.cwd()}"
        )
    name = path.stem
    loaded = sys.modules.get(name)
    if loaded is not None:
        if pathlib.Path(getattr(loaded, "__file__", None) or "").resolve() == path.resolve():
            return
        raise ConfigError(f"plugin file {str(path)!r} has the name of another module, {name!r}: rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"plugin file {str(path)!r} is not a Python file: give a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with _keeping_serialization_names():
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
