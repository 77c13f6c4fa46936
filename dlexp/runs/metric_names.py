"""The metrics that a training measures, by name, without TensorFlow: which exist, and under which keys they are logged.

A name is written as a Keras class (`F1Score`) or in snake case (`f1_score`), which is its key.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.monitor import monitor_mode
from dlexp.errors import ConfigError, UnknownNameError, unknown_name
from dlexp.registry import METRICS, MODELS
from dlexp.runs.metric_keys import metric_key

PLAIN_LOSS = "cross_entropy"
FEWEST_CLASSES_FOR_TOP5 = 10
# Metrics that are also measured for a single class, as `recall/cat`.
BY_CLASS = ("f1_score", "precision", "recall")
# Metrics that need all predictions of a split at once: measured in validation and test, but not while training.
ON_WHOLE_SPLITS = ("auc",)

_POOLED = "counts predictions of all classes in one number; measure each class with precision/CLASS and recall/CLASS"
_OF_TWO_CLASSES = "compares each class with the rest at a probability of 0.5, and is high for any prediction"
_REFUSED = {
    "binary_accuracy": f"it {_OF_TWO_CLASSES}: use accuracy or balanced_accuracy",
    "binary_crossentropy": f"it {_OF_TWO_CLASSES}: use cross_entropy, or train with --loss=binary_cross_entropy",
    "categorical_hinge": "a hinge needs margins, but probabilities have none: use cross_entropy",
    "hinge": "a hinge needs margins, but probabilities have none: use cross_entropy",
    "squared_hinge": "a hinge needs margins, but probabilities have none: use cross_entropy",
    "true_positives": f"it {_POOLED}",
    "true_negatives": f"it {_POOLED}",
    "false_positives": f"it {_POOLED}",
    "false_negatives": f"it {_POOLED}",
}


@dataclass(frozen=True)
class MetricName:
    """A metric that is measured.

    Attributes:
        key: in logs, points and tables.
        metric: its name in the registry.
        label: number of the class that it is measured for; None: all classes.
    """

    key: str
    metric: str
    label: int | None = None


def resolve_metrics(
    names: Iterable[str], class_names: Sequence[str] | None = None, *, loss: str = PLAIN_LOSS
) -> list[MetricName]:
    """Returns what is measured in addition to the loss, in order, without duplicates.

    Args:
        names: from the config. After a `/` stands a class, by its name or by its `metric_key`.
        class_names: name of each label; None: unknown, so that classes are not checked, and have no label.
        loss: name of the trained loss. `cross_entropy` is measured too if it is another one, or "" if the model
            computes its own loss.

    Raises:
        UnknownNameError: there is no such metric, or no such class.
        ConfigError: the metric makes no sense for a single label out of several.
    """
    found = {"cross_entropy": MetricName("cross_entropy", "cross_entropy")} if loss != PLAIN_LOSS else {}
    found["accuracy"] = MetricName("accuracy", "accuracy")
    if class_names is not None and len(class_names) >= FEWEST_CLASSES_FOR_TOP5:
        found["top5_accuracy"] = MetricName("top5_accuracy", "top5_accuracy")
    for name in names:
        resolved = _resolve(name, class_names)
        found.setdefault(resolved.key, resolved)
    return list(found.values())


def measured_keys(
    names: Iterable[str], class_names: Sequence[str] | None = None, *, loss: str = PLAIN_LOSS
) -> list[str]:
    """Returns the keys of the training logs, without the `val_` keys: `loss`, then those of `resolve_metrics`.

    Example:
        >>> measured_keys(["F1Score", "recall/cat"], ["cat", "dog"])
        ['loss', 'accuracy', 'f1_score', 'recall/cat']
    """
    return ["loss", *(metric.key for metric in resolve_metrics(names, class_names, loss=loss))]


def check_monitor(config: ExperimentConfig, class_names: Sequence[str] | None = None) -> None:
    """Checks the metrics of a config and that the monitored one is measured and has a direction.

    Args:
        config: its plug-ins are imported.
        class_names: name of each label; None: not known yet, so that only what depends on them is not checked.

    A monitor that dlexp does not know is accepted with a `monitor_mode`, if code of a plug-in may log it.

    Raises:
        UnknownNameError: a metric does not exist, or the monitored one is not measured.
        ConfigError: a metric is refused, or it is not known whether small or large values of the monitor are better.
    """
    selection, loss = config.selection, config.optimization.loss
    measured = measured_keys(selection.metrics, class_names, loss=loss)
    if class_names is None:
        measured.append("top5_accuracy")
    available = [*(key for key in measured if key not in ON_WHOLE_SPLITS), *(f"val_{key}" for key in measured)]
    monitor_mode_is_given = selection.monitor_mode != "auto"
    if selection.monitor not in available and not (monitor_mode_is_given and _logs_more(config)):
        error = unknown_name("monitored metric", selection.monitor, available)
        if not _logs_more(config):
            raise error
        raise UnknownNameError(f"{error}; for another one, which a plug-in logs, give --monitor_mode=min or max")
    monitor_mode(selection.monitor, selection.monitor_mode)


def _logs_more(config: ExperimentConfig) -> bool:
    """Whether code of a plug-in may log metrics that dlexp does not know."""
    return bool(config.optimization.callbacks) or not MODELS.is_builtin(config.model.model)


def snake_case(name: str) -> str:
    """Returns a class name as Keras names its metrics: F1Score is f1_score, KLDivergence is kl_divergence."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _resolve(name: str, class_names: Sequence[str] | None) -> MetricName:
    spelled, separator, of_class = name.partition("/")
    metric = spelled if spelled in METRICS else snake_case(spelled)
    if metric in _REFUSED and metric not in METRICS:
        raise ConfigError(f"metrics={name} makes no sense where every image has one class: {_REFUSED[metric]}")
    if metric not in METRICS:
        raise unknown_name("metric", name, METRICS.names())
    if not separator:
        return MetricName(metric, metric)
    if metric not in BY_CLASS:
        raise unknown_name("class metric", metric, BY_CLASS)
    if class_names is None:
        return MetricName(f"{metric}/{of_class}", metric)
    keys = [metric_key(class_name) for class_name in class_names]
    if of_class not in keys and of_class not in class_names:
        raise unknown_name("class", of_class, keys)
    label = keys.index(of_class) if of_class in keys else list(class_names).index(of_class)
    return MetricName(f"{metric}/{keys[label]}", metric, label)
