"""Names in a config that only the registries know: checked before TensorFlow is imported."""

from dlexp import catalog
from dlexp.config.dataset_expression import parse_expression
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import unknown_name
from dlexp.registry import AUGMENTATIONS, CALLBACKS, MODELS, SOURCES, TRACKERS, load_plugins


def check_names(config: ExperimentConfig) -> None:
    """Imports the plug-ins of a config, then looks up its model, source, augmentations, callbacks, trackers, optimizer.

    Raises:
        UnknownNameError: one is not there; the nearest and all names are listed.
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
    if config.optimization.optimizer not in catalog.OPTIMIZERS:
        raise unknown_name("optimizer", config.optimization.optimizer, catalog.OPTIMIZERS)
