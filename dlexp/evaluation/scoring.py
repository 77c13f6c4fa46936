"""Measures the predictions of a model with the loss and the metrics of its run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from dlexp.config.sections import OptimizationConfig
from dlexp.evaluation.losses import build_loss
from dlexp.evaluation.metrics import build_metrics
from dlexp.models.own_loss import has_own_loss
from dlexp.runs.metric_names import PLAIN_LOSS


@dataclass(frozen=True)
class Scoring:
    """What is measured; a metric has the same name and the same value as in the validation of the training.

    Attributes:
        metrics: names of the additional metrics.
        loss: name of the loss; empty if the model computes its own loss, which logits do not determine.
        loss_args: arguments of the loss.
    """

    metrics: Sequence[str] = ()
    loss: str = PLAIN_LOSS
    loss_args: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, metrics: Sequence[str], optimization: OptimizationConfig, model: keras.Model) -> "Scoring":
        """The scoring of a run."""
        return cls(metrics, "" if has_own_loss(model) else optimization.loss, optimization.loss_args)

    def measure(self, labels: np.ndarray, logits: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
        """Measures the loss, unless the model has its own; then what `build_metrics` lists.

        Args:
            labels: `int` `(n,)`, n > 0.
            logits: `float32` `(n, num_classes)`.
            class_names: name of each label.
        """
        one_hot = np.eye(len(class_names), dtype=np.float32)[labels]
        measured = {}
        if self.loss:
            losses = build_loss(self.loss, self.loss_args, len(class_names)).call(one_hot, logits)
            measured["loss"] = float(np.mean(np.asarray(losses), dtype=np.float64))
        for metric in build_metrics(self.metrics, class_names, examples=len(labels), loss=self.loss):
            metric.update_state(one_hot, logits)
            measured[metric.name] = float(metric.result())
        return measured
