"""Which metrics are not defined for the examples of a split, such as the recall of a class without examples."""

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset
from dlexp.errors import ConfigError
from dlexp.runs.metric_names import ON_WHOLE_SPLITS, resolve_metrics

_SPLITS = {"val_": "validation", "test_": "test", "": "train"}


def check_defined(field: str, key: str, config: ExperimentConfig, dataset: Dataset) -> None:
    """Checks that a metric is defined for the examples of its split.

    Args:
        field: of the config, for the message: `monitor` or `objective`.
        key: as a run records the metric, such as `val_auc`; one that dlexp does not know is accepted.
        config: asks for the metrics.
        dataset: of the config.

    Raises:
        ConfigError: it is not defined.
    """
    prefix = next(prefix for prefix in _SPLITS if key.startswith(prefix))
    split, name = _SPLITS[prefix], key.removeprefix(prefix)
    counts = dataset.counts()[split]
    for metric in resolve_metrics(config.selection.metrics, dataset.class_names, loss=config.optimization.loss):
        missing = ""
        if metric.key == name and metric.label is not None and not counts.iloc[metric.label]:
            missing = f"no example of class {dataset.class_names[metric.label]}"
        elif metric.key == name and metric.metric in ON_WHOLE_SPLITS and sum(counts > 0) == 1:
            missing = "examples of one class only"
        if missing:
            raise ConfigError(
                f"{field}={key} is not defined, as {split} has {missing}: choose another metric, or split the dataset "
                "in another way"
            )
