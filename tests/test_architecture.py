"""Where things belong: undocumented parts of a library in one module each, tests of a module in a file of its name.

import-linter sees neither attributes nor the submodules of other packages, so these contracts walk the syntax trees.
"""

import ast
import configparser
import pathlib
from collections.abc import Iterator, Mapping

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Folders of tests that mirror no package, and files that test several modules together.
OTHER_TEST_FOLDERS = {"benchmarks", "docs", "integration", "notebooks", "support"}
CROSS_MODULE_TESTS = {
    "test_any_network.py",
    "checkpoints/test_stored_run.py",  # a run that earlier code has trained
    "datasets/images/test_formats.py",  # every format, from the scan to the pixels
    "datasets/sources/test_conformance.py",
    "datasets/sources/test_sources.py",  # what all sources have in common
    "runs/test_retraining.py",  # a run, its resume, and the training of its flags
    "sweeps/launchers/test_conformance.py",
    "tracking/test_builtin.py",  # every tracker of the registry's table
    "test_architecture.py",
    "test_packaging.py",
    "test_small_folder.py",  # the whole training, by its accuracy
    "tracking/mlflow/test_faults.py",  # the tracker, its queue and sync, where MLflow fails
    "tracking/test_conformance.py",
}
KERAS_INTERNALS = "dlexp/models/keras_internals.py"

# Attributes that Keras does not document, and keys of its files. Each has a function in keras_internals.
KERAS_NAMES = {
    *("_model_variables_moving_average", "_learning_rate", "inner_optimizer", "_keras_logits", "async_safe"),
    *("make_train_function", "train_function", "distribute_strategy", "get_metrics_result", "metrics_variables"),
    *("compute_metrics", "stopped_epoch", "cooldown_counter", "model.weights.h5", "metadata.json", "date_saved"),
    *("compile_config", "registered_name", "_KERAS_DIR"),
}
# The same, where others have attributes of that name too: undocumented as those of a model.
KERAS_NAMES_OF_A_MODEL = {"steps_per_execution", "metrics"}
# Attributes of an optimizer that are public to read, and to call, but not to replace.
KERAS_NAMES_NOT_TO_REPLACE = {"apply", "weight_decay"}
MLFLOW_NAMES: Mapping[str, set[str]] = {
    "dlexp/tracking/mlflow/database.py": {"SqlAlchemyStore", "SqlRun", "SqlTag", "_engine_map"},
    "dlexp/tracking/mlflow/system_metrics.py": {"SystemMetricsMonitor", "_logging_step"},
}
MLFLOW_MODULES = {
    "mlflow.store": "dlexp/tracking/mlflow/database.py",
    "mlflow.system_metrics": "dlexp/tracking/mlflow/system_metrics.py",
}


def parsed_modules() -> Iterator[tuple[str, ast.Module]]:
    """Path below the repository, and syntax tree, of every module of dlexp."""
    for path in sorted((ROOT / "dlexp").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def names_in(node: ast.AST) -> Iterator[str]:
    """What a node names: an attribute, a variable, a text as in `getattr`, an imported module or name."""
    match node:
        case ast.Attribute(attr=name) | ast.Name(id=name) | ast.Constant(value=str(name)) | ast.arg(arg=name):
            yield name
        case ast.ImportFrom(module=str(module), names=aliases):
            yield module
            for alias in aliases:
                yield alias.name
                yield f"{module}.{alias.name}"
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)


def named(tree: ast.Module, names: set[str]) -> Iterator[tuple[int, str]]:
    """Line and name of every use of these names."""
    for node in ast.walk(tree):
        yield from ((getattr(node, "lineno", 0), name) for name in names_in(node) if name in names)


def imported(tree: ast.Module, package: str) -> Iterator[tuple[int, str]]:
    """Line and module of every import of a package or of a module below it, also as the text of a module's name."""
    for node in ast.walk(tree):
        for name in names_in(node):
            if name == package or name.startswith(f"{package}."):
                yield getattr(node, "lineno", 0), name


def keras_internals_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of everything of Keras' that only keras_internals may name."""
    own = {alias.name for node in ast.walk(tree) for alias in imported_from_internals(node)}
    yield from named(tree, KERAS_NAMES - own)
    yield from imported(tree, "keras.src")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="model") | ast.Attribute(attr="model"), attr=name):
                if name in KERAS_NAMES_OF_A_MODEL:
                    yield node.lineno, f"model.{name}"
            case ast.Attribute(value=ast.Name(id="keras"), attr="src"):
                yield node.lineno, "keras.src"
        match node:
            case ast.Attribute(value=owner, attr=name, ctx=ast.Store()):
                if name in KERAS_NAMES_NOT_TO_REPLACE and not is_self(owner):
                    yield node.lineno, f"{name} ="


def imported_from_internals(node: ast.AST) -> list[ast.alias]:
    """Functions of ours that have the name of what they wrap."""
    is_ours = isinstance(node, ast.ImportFrom) and node.module == "dlexp.models.keras_internals"
    return node.names if is_ours and isinstance(node, ast.ImportFrom) else []


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def test_keras_internals_are_named_in_one_module() -> None:
    found = [
        f"{path}:{line}: {name}: use or write a function of {KERAS_INTERNALS}"
        for path, tree in parsed_modules()
        if path != KERAS_INTERNALS
        for line, name in keras_internals_in(tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "import keras.src.backend",
        "from keras.src import backend",
        "from keras import src\nkeras.src.backend",
        "averages = optimizer._model_variables_moving_average",
        "inner = getattr(model.optimizer, 'inner_optimizer', None)",
        "class Guard:\n    async_safe = True",
        "loss = self.model.metrics[0]",
        "steps = model.steps_per_execution",
        "optimizer.apply = watched",
        "optimizer.weight_decay = variable",
        "archive.read('model.weights.h5')",
    ],
)
def test_use_of_an_internal_is_found(code: str) -> None:
    assert list(keras_internals_in(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "from dlexp.models.keras_internals import inner_optimizer\ninner_optimizer(model.optimizer)",
        "config.execution.steps_per_execution",
        "self.weight_decay = 0.1",
        "optimizer.apply(gradients)",
        "import keras\nmodel.compile(metrics=[])",
    ],
)
def test_use_of_what_is_public_is_not_found(code: str) -> None:
    assert list(keras_internals_in(ast.parse(code))) == []


def test_undocumented_modules_of_mlflow_are_named_in_one_module_each() -> None:
    found = [
        f"{path}:{line}: {name} belongs to {place}"
        for path, tree in parsed_modules()
        for package, place in MLFLOW_MODULES.items()
        if path != place
        for line, name in imported(tree, package)
    ]
    found += [
        f"{path}:{line}: {name} belongs to {place}"
        for path, tree in parsed_modules()
        for place, names in MLFLOW_NAMES.items()
        if path != place
        for line, name in named(tree, names)
    ]
    assert found == []


def test_every_test_file_is_named_for_a_module_or_a_package() -> None:
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    mirrored = {path for path in tests if path.parts[0] not in OTHER_TEST_FOLDERS}
    subjects = {path: ROOT / "dlexp" / path.parent / path.stem.removeprefix("test_") for path in mirrored}
    nameless = {
        path.as_posix()
        for path, subject in subjects.items()
        if not (subject.with_name(f"{subject.name}.py").is_file() or (subject / "__init__.py").is_file())
    }
    misplaced = sorted(nameless - CROSS_MODULE_TESTS)
    assert misplaced == [], "rename each to test_<module>.py, or add it to CROSS_MODULE_TESTS"
    assert sorted(CROSS_MODULE_TESTS - nameless) == [], "no longer there, or named for a module: take it off the list"


def test_page_of_the_architecture_shows_the_layers_of_the_import_contract() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    layers = settings["importlinter:contract:layers"]["layers"].strip()
    assert f"```text\n{layers}\n```" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
