"""Checks before TensorFlow is imported: names must be known, and the store must be writable."""

import pathlib
import tempfile

from dlexp.config.dataset_expression import parse_expression
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import StoreError, unknown_name
from dlexp.plugins import load_plugins
from dlexp.registry import AUGMENTATIONS, CALLBACKS, LOSSES, MODELS, OPTIMIZERS, SOURCES, TRACKERS
from dlexp.runs.metric_names import check_monitor


def check_names(config: ExperimentConfig) -> None:
    """Imports the plug-ins of a config, then looks up every name in it: from its model to the metric it monitors.

    Raises:
        UnknownNameError: a name is unknown; the error lists the nearest names and all names.
        ConfigError: a metric makes no sense, or the monitored one has no known direction.
        ConfigError: a plug-in cannot be imported.
    """
    load_plugins(config.plugins)
    MODELS.check(config.model.model)
    for term in parse_expression(config.data.dataset, SOURCES.names()):
        SOURCES.check(term.kind)
    for augmentation in config.data.augment:
        AUGMENTATIONS.check(augmentation)
    for callback in config.optimization.callbacks:
        CALLBACKS.check(callback)
    for tracker in config.tracking.trackers:
        TRACKERS.check(tracker)
    if config.optimization.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", config.optimization.optimizer, OPTIMIZERS)
    LOSSES.check(config.optimization.loss)
    check_monitor(config)


def check_store(store: str | pathlib.Path) -> None:
    """Raises StoreError if runs cannot be written to `store`; creates nothing.

    An old MLflow file store in the same folder does no harm, because it is neither read nor written.
    """
    path = pathlib.Path(store).resolve()
    existing = next(parent for parent in (path, *path.parents) if _is_seen(parent))
    if not existing.is_dir():
        raise StoreError(f"store {str(store)!r} cannot be used: {str(existing)!r} is a file: choose another --store")
    if not _is_writable(existing):
        raise StoreError(
            f"store {str(store)!r} cannot be written: no permission in {str(existing)!r}: choose another --store"
        )


def _is_seen(path: pathlib.Path) -> bool:
    """Returns whether a path exists; False if this user has no permission to see it."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _is_writable(folder: pathlib.Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
