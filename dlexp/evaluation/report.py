"""Builds `report.json`: all scores of a split, for programs to read."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dlexp.config.json_values import json_value
from dlexp.evaluation.calibration import BINS, Calibration
from dlexp.evaluation.intervals import CONFIDENCE, Share
from dlexp.evaluation.scores import mean_over_classes
from dlexp.evaluation.split_prediction import Predictions
from dlexp.evaluation.split_scores import SplitScores


@dataclass(frozen=True)
class ReportSubject:
    """Which model was evaluated, on which data, and how.

    Attributes:
        run_id: of the run that trained the model.
        run_name: name of that run.
        model: name of the architecture.
        checkpoint: name of the checkpoint file.
        kind: `best` or `last`.
        epoch: the checkpoint was saved after this epoch, counted from 1.
        weights_digest: models with equal digests have equal weights.
        dataset_name: name of the dataset.
        dataset_id: ID of the dataset.
        split: `train`, `validation` or `test`.
        tta: test-time augmentations.
        batch_size: number of examples in a batch.
    """

    run_id: str
    run_name: str
    model: str
    checkpoint: str
    kind: str
    epoch: int
    weights_digest: str
    dataset_name: str
    dataset_id: str
    split: str
    tta: Sequence[str]
    batch_size: int


def build_report(
    subject: ReportSubject,
    predictions: Predictions,
    scores: SplitScores,
    class_names: Sequence[str],
    *,
    cautions: Mapping[str, str],
) -> dict[str, Any]:
    """Builds the contents of `report.json`; a value that is not defined or not finite is None.

    Args:
        subject: which model was evaluated, on which data.
        predictions: of the split.
        scores: of the same split.
        class_names: name of each label.
        cautions: of the run that trained the model, see `Run.caution`.
    """
    report = {
        **asdict(subject),
        "cautions": dict(cautions),
        "examples": len(predictions.table),
        "not_finite": scores.not_finite,
        "metrics": dict(predictions.metrics),
        "accuracy": _share(scores.accuracy),
        "top_k": {str(k): _share(share) for k, share in scores.top_k.items()},
        "averages": {name: dict(average) for name, average in scores.classes.averages.items()},
        "roc_auc": mean_over_classes([curve.roc_auc for curve in scores.curves if curve]),
        "average_precision": mean_over_classes([curve.average_precision for curve in scores.curves if curve]),
        "calibration": _calibration(scores),
        "per_source": {
            name: {"metrics": dict(metrics), "accuracy": _share(scores.per_source[name])}
            for name, metrics in predictions.per_source.items()
        },
        "per_class": {name: _class(scores, label) for label, name in enumerate(class_names)},
        "class_names": list(class_names),
        "confusion": _confusion(scores.confusion),
    }
    return dict(json_value(report, strict=True))


def _share(share: Share) -> dict[str, Any]:
    return {**asdict(share), "confidence": CONFIDENCE}


def _class(scores: SplitScores, label: int) -> dict[str, Any]:
    classes, curve = scores.classes, scores.curves[label]
    return {
        "precision": classes.precision[label],
        "recall": classes.recall[label],
        "f1": classes.f1[label],
        "support": classes.support[label],
        "roc_auc": curve.roc_auc if curve else None,
        "average_precision": curve.average_precision if curve else None,
    }


def _confusion(matrix: np.ndarray) -> list[list[int]]:
    """The cells of a confusion matrix that are not zero: [true label, predicted label, examples].

    With 1,500 classes all cells would take 20 MB.
    """
    true, predicted = np.nonzero(matrix)
    return np.stack([true, predicted, matrix[true, predicted]], axis=1).tolist()


def _calibration(scores: SplitScores) -> dict[str, Any]:
    return {
        "bins": BINS,
        **_errors(scores.calibration),
        "temperature": scores.temperature.value,
        "temperature_fitted_on": scores.temperature.fitted_on,
        "with_temperature": _errors(scores.calibrated),
        "bin_accuracy": scores.calibration.accuracy,
        "bin_confidence": scores.calibration.confidence,
        "bin_counts": scores.calibration.counts,
    }


def _errors(calibration: Calibration) -> dict[str, float]:
    return {
        "ece": calibration.expected_error,
        "mce": calibration.maximum_error,
        "brier": calibration.brier,
        "nll": calibration.nll,
    }
