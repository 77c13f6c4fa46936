"""What a model does on a split: predictions example by example, metrics, tables and pictures."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.metrics import classification_report, confusion_matrix

from dlexp.atomic import write_text_atomically
from dlexp.datasets import Datasets
from dlexp.datasets.damage import naming_unreadable_images
from dlexp.gallery import draw_images
from dlexp.metrics import build_metrics
from dlexp.pictures import draw_confusion

FOLDER = "evaluation"
_MOST_MISTAKES = 25


@dataclass(frozen=True)
class Evaluation:
    """Predictions of a model on one split.

    Attributes:
        split: `train`, `validation` or `test`.
        metrics: loss, accuracy and the further metrics, by name.
        per_source: the same by source, where there are several.
        predictions: one row an example, in the order of the manifest: key, source, label, prediction, confidence
            (probability of the prediction), loss (cross-entropy), and `probability_N` for every class.
    """

    split: str
    metrics: Mapping[str, float]
    per_source: Mapping[str, Mapping[str, float]]
    predictions: pd.DataFrame


def evaluate_model(model: keras.Model, datasets: Datasets, split: str, *, metric_names: Sequence[str]) -> Evaluation:
    """Runs a model once over a split.

    Args:
        model: takes raw pixels, returns logits `(batch, num_classes)`.
        datasets: where the split comes from.
        split: `validation` or `test`.
        metric_names: Keras metrics beside loss and accuracy.
    """
    dataset, data = datasets.dataset, getattr(datasets, split)
    with naming_unreadable_images(dataset):
        logits = model.predict(data.map(lambda images, labels: images), verbose=0).astype(np.float32)
    rows = dataset.manifest[dataset.manifest["split"] == split]
    one_hot = np.eye(dataset.num_classes, dtype=np.float32)[rows["label"].to_numpy()]
    losses = keras.ops.categorical_crossentropy(one_hot, logits, from_logits=True).numpy()
    sources = rows["source"].to_numpy()

    def measure(chosen: Any) -> dict[str, float]:
        metrics = {"loss": float(np.mean(losses[chosen], dtype=np.float64))}
        for metric in build_metrics(metric_names, dataset.num_classes):
            metric.update_state(one_hot[chosen], logits[chosen])
            metrics[metric.name] = float(metric.result())
        return metrics

    names = sorted(set(sources))
    per_source = {name: measure(sources == name) for name in names} if len(names) > 1 else {}
    table = _tabulate(rows, tf.nn.softmax(logits).numpy(), losses)
    return Evaluation(split, measure(slice(None)), per_source, table)


def _tabulate(rows: pd.DataFrame, probabilities: np.ndarray, losses: np.ndarray) -> pd.DataFrame:
    prediction = probabilities.argmax(axis=1)
    table = rows[["key", "source", "label"]].reset_index(drop=True)
    table = table.assign(prediction=prediction, confidence=probabilities.max(axis=1), loss=losses)
    columns = {f"probability_{label}": probabilities[:, label] for label in range(probabilities.shape[1])}
    return pd.concat([table, pd.DataFrame(columns)], axis=1)


def write_evaluation(evaluation: Evaluation, datasets: Datasets, run_folder: pathlib.Path) -> pathlib.Path:
    """Writes predictions.parquet, report.json, confusion.png, mistakes.png to `evaluation/<split>/`, and returns it."""
    folder = run_folder / FOLDER / evaluation.split
    folder.mkdir(parents=True, exist_ok=True)
    class_names, table = datasets.dataset.class_names, evaluation.predictions
    matrix = confusion_matrix(table["label"], table["prediction"], labels=range(len(class_names)))
    table.to_parquet(folder / "predictions.parquet", index=False)
    write_text_atomically(folder / "report.json", json.dumps(_report(evaluation, class_names, matrix), indent=2) + "\n")
    draw_confusion(
        folder / "confusion.png",
        matrix,
        class_names,
        title=f"{datasets.dataset.name}, {evaluation.split} split: accuracy {evaluation.metrics['accuracy']:.4f}",
    )
    _draw_mistakes(folder / "mistakes.png", evaluation, datasets)
    return folder


def _report(evaluation: Evaluation, class_names: Sequence[str], matrix: np.ndarray) -> dict[str, Any]:
    table, labels = evaluation.predictions, range(len(class_names))
    per_class = classification_report(
        table["label"],
        table["prediction"],
        labels=labels,
        target_names=class_names,
        output_dict=True,
        zero_division=0.0,
    )
    return {
        "split": evaluation.split,
        "examples": len(table),
        "metrics": dict(evaluation.metrics),
        "per_source": {name: dict(metrics) for name, metrics in evaluation.per_source.items()},
        "per_class": {name: per_class[name] for name in class_names},
        "confusion_matrix": matrix.tolist(),
    }


def _draw_mistakes(path: pathlib.Path, evaluation: Evaluation, datasets: Datasets) -> None:
    table, names = evaluation.predictions, datasets.dataset.class_names
    wrong = table[table["label"] != table["prediction"]]
    shown = wrong.sort_values("confidence", ascending=False, kind="stable").head(_MOST_MISTAKES)
    title = f"{datasets.dataset.name}, {evaluation.split} split: {len(wrong)} mistakes of {len(table)}"
    if len(wrong) > len(shown):
        title += f", the {len(shown)} most confident"
    captions = [
        f"is {names[label]}\npredicted {names[prediction]} ({confidence:.0%})"
        for label, prediction, confidence in zip(shown["label"], shown["prediction"], shown["confidence"], strict=True)
    ]
    rows = datasets.dataset.manifest.set_index("key").loc[shown["key"], "row"]
    draw_images(path, [datasets.dataset.source.read(row) for row in rows], captions, title=title, columns=5, inches=1.9)
