"""Checks before the first trial that every trial will have the objectives of its sweep."""

from collections.abc import Iterator, Sequence

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.monitor import is_smaller_better
from dlexp.datasets import Dataset, open_dataset
from dlexp.errors import ConfigError, unknown_name
from dlexp.evaluation.defined_metrics import check_defined
from dlexp.registry import MODELS
from dlexp.runs.metric_keys import metric_key
from dlexp.runs.metric_names import ON_WHOLE_SPLITS, measured_keys
from dlexp.runs.recipe import resolve_recipe
from dlexp.sweeps.plan import SweepPlan

# Numbers that the record of a run has in addition to its metrics.
_FACTS = ("num_parameters", "steps_per_epoch", "steps_per_execution_chosen", "exact_leaks", "best_epoch")
# Parts of the names of metrics that not every dataset has.
_OF_DATA = ("/", "top5", *ON_WHOLE_SPLITS)


def check_objectives(plan: SweepPlan) -> None:
    """Raises UnknownNameError for an objective that a trial will not have; the plug-ins of its configs are imported.

    The data is opened only for objectives that depend on it: those of a class or a source, top-5 accuracy and AUC. A
    name that dlexp does not know is accepted where a plug-in's model or callback may log it.

    Raises:
        ConfigError: the pruner needs an objective of every epoch, or a split lacks examples that an objective needs.
    """
    opened: dict[str, Dataset] = {}
    for config in plan.candidates.corner_configs():
        for objective in plan.objectives:
            dataset = _open_once(config, opened) if any(part in objective.name for part in _OF_DATA) else None
            of_epochs = _epoch_keys(config, dataset.class_names if dataset else None)
            if plan.pruner != "none" and objective.name in (*_FACTS, *_test_keys(config, dataset)):
                raise ConfigError(
                    f"--pruner={plan.pruner} compares trials after each epoch, but {objective.name} is measured once, "
                    "at the end: give an objective of validation, such as val_accuracy"
                )
            available = [*of_epochs, *_test_keys(config, dataset), *_FACTS]
            if objective.name not in available and not _may_be_logged(objective.name, config):
                raise unknown_name("objective", objective.name, available)
            if dataset is not None:
                check_defined("objective", objective.name, config, dataset)


def _open_once(config: ExperimentConfig, opened: dict[str, Dataset]) -> Dataset:
    data = resolve_recipe(config).data
    return opened.setdefault(repr(data), opened.get(repr(data)) or open_dataset(data))


def _epoch_keys(config: ExperimentConfig, class_names: Sequence[str] | None) -> list[str]:
    keys = _measured(config, class_names)
    return [*(key for key in keys if key not in ON_WHOLE_SPLITS), *(f"val_{key}" for key in keys)]


def _test_keys(config: ExperimentConfig, dataset: Dataset | None) -> Iterator[str]:
    keys = _measured(config, dataset.class_names if dataset else None)
    yield from (f"test_{key}" for key in keys)
    sources = [] if dataset is None else sorted(set(dataset.manifest["source"]))
    if len(sources) > 1:
        yield from (f"test_{key}/{metric_key(source)}" for key in keys for source in sources)


def _measured(config: ExperimentConfig, class_names: Sequence[str] | None) -> list[str]:
    return measured_keys(config.selection.metrics, class_names, loss=config.optimization.loss)


def _may_be_logged(name: str, config: ExperimentConfig) -> bool:
    """Whether code of a plug-in may log a metric that dlexp does not know."""
    has_foreign_code = bool(config.optimization.callbacks) or not MODELS.is_builtin(config.model.model)
    return has_foreign_code and is_smaller_better(name) is None
