"""Verifies at the end of a run that the best checkpoint gives the values that its epoch recorded on validation."""

import math
from collections.abc import Mapping

import keras
import numpy as np

from dlexp.checkpoints.files import LoadedCheckpoint
from dlexp.datasets import Datasets
from dlexp.datasets.damage import naming_unreadable_images
from dlexp.evaluation.scoring import Scoring
from dlexp.evaluation.split_prediction import Forward
from dlexp.models.keras_internals import has_own_validation
from dlexp.models.own_loss import has_own_loss
from dlexp.runs.metric_names import PLAIN_LOSS

_PREFIX = "val_"
# Relative for losses and other numbers; of accuracies, the share of examples that rounding may tip over.
_LOSS_TOLERANCE, _HALF_LOSS_TOLERANCE = 1e-4, 2e-2
_SCORE_TOLERANCE, _HALF_SCORE_TOLERANCE = 1e-3, 1e-2
_TIPPED_EXAMPLES = 2.5  # two, and the rounding of their share


def verify_best(
    model: keras.Model,
    checkpoint: LoadedCheckpoint,
    forward: Forward,
    datasets: Datasets,
    *,
    measured: Mapping[str, float],
) -> list[str]:
    """Compares the metrics that the best epoch recorded on validation with those that its checkpoint gives now.

    Where validation computes nothing but the metrics of the logits, they are compared. For a model with its own loss or
    steps, the trained model gets the weights of the file and is validated again, and its logits are compared with those
    of the saved network.

    Args:
        model: the trained model; may get the weights of the checkpoint.
        checkpoint: the best one, loaded from its file.
        forward: of the checkpoint, see `compile_forward`.
        datasets: of the training.
        measured: metrics of the checkpoint on validation, by name.

    Returns:
        What differs, as "val_accuracy 0.5 (recorded: 0.8)"; empty if the checkpoint is verified.
    """
    half = checkpoint.config.execution.dtype_policy != "float32"
    examples, recorded = datasets.dataset.count("validation"), checkpoint.metrics
    if not (has_own_loss(model) or has_own_validation(model)):
        return find_differences(recorded, measured, examples=examples, half_precision=half)
    model.set_weights(checkpoint.model.get_weights())
    own = model.evaluate(datasets.validation, return_dict=True, verbose=0)
    images = next(iter(datasets.validation))[0]
    logits, saved = np.asarray(model(images, training=False), np.float32), forward(images).numpy()
    most = (_HALF_LOSS_TOLERANCE if half else _SCORE_TOLERANCE) * np.max(np.abs(logits[np.isfinite(logits)]), initial=0)
    return find_differences(recorded, own, examples=examples, half_precision=half) + (
        []
        if np.allclose(logits, saved, rtol=0, atol=most, equal_nan=True)
        else [f"its logits differ by up to {np.nanmax(np.abs(logits - saved)):.2g}"]
    )


def predict_validation(forward: Forward, datasets: Datasets) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits `float32` `(n, num_classes)` and labels `int` `(n,)` of validation, in the order of the manifest.

    Raises:
        DataError: an image can no longer be read; the error names it.
    """
    with naming_unreadable_images(datasets.dataset):
        logits = np.concatenate([forward(images).numpy() for images, _ in datasets.validation])
    return logits, datasets.dataset.manifest["label"].to_numpy()[datasets.dataset.rows("validation")]


def measure_validation(logits: np.ndarray, labels: np.ndarray, scoring: Scoring) -> dict[str, float]:
    """Measures cross-entropy and accuracy of `predict_validation`, in a few milliseconds for a small split."""
    with np.errstate(all="ignore"):
        shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
        losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    name = "loss" if scoring.loss == PLAIN_LOSS else "cross_entropy"
    return {name: float(losses.mean()), "accuracy": float((logits.argmax(axis=1) == labels).mean())}


def find_differences(
    recorded: Mapping[str, float], measured: Mapping[str, float], *, examples: int, half_precision: bool = False
) -> list[str]:
    """Compares the metrics that an epoch recorded on validation with those measured from its checkpoint.

    Args:
        recorded: metrics of the epoch; only keys with `val_` count.
        measured: metrics by the same names without `val_`; others are ignored.
        examples: size of the validation split.
        half_precision: the model computes in float16 or bfloat16, so rounding tips more examples over.

    Returns:
        What differs, as "val_accuracy 0.5 (recorded: 0.8)"; empty if nothing does.
    """
    differences = []
    for name, value in measured.items():
        if (key := f"{_PREFIX}{name}") not in recorded:
            continue
        expected = recorded[key]
        if not _is_close(name, value, expected, examples=examples, half_precision=half_precision):
            differences.append(f"{key} {value:.4g} (recorded: {expected:.4g})")
    return differences


def _is_close(name: str, value: float, expected: float, *, examples: int, half_precision: bool) -> bool:
    if math.isnan(value) or math.isnan(expected):
        return math.isnan(value) and math.isnan(expected)
    if name in ("loss", "cross_entropy"):
        return math.isclose(
            value, expected, rel_tol=_HALF_LOSS_TOLERANCE if half_precision else _LOSS_TOLERANCE, abs_tol=1e-6
        )
    tolerance = max(_HALF_SCORE_TOLERANCE if half_precision else _SCORE_TOLERANCE, _TIPPED_EXAMPLES / examples)
    if "accuracy" not in name:
        tolerance *= 5  # one example may count more than once, for example in the mean over a few classes
    return math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)
