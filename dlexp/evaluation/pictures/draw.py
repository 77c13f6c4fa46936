"""Draws all pictures of a split."""

import pathlib

from dlexp.datasets import Dataset
from dlexp.evaluation.pictures.confusion import draw_confusion
from dlexp.evaluation.pictures.curves import draw_precision_recall, draw_roc
from dlexp.evaluation.pictures.galleries import draw_least_confident, draw_mistakes
from dlexp.evaluation.pictures.per_class import draw_per_class
from dlexp.evaluation.pictures.reliability import draw_reliability
from dlexp.evaluation.split_prediction import Predictions
from dlexp.evaluation.split_scores import SplitScores
from dlexp.reports.figure import shorten


def draw_pictures(
    folder: pathlib.Path, predictions: Predictions, scores: SplitScores, dataset: Dataset
) -> dict[str, pathlib.Path]:
    """Draws all pictures of a split.

    Args:
        folder: where the pictures are written.
        predictions: of the split.
        scores: of the same split.
        dataset: that the split belongs to.

    Returns:
        Paths by name: confusion, per_class, roc, precision_recall, reliability, mistakes, least_confident.
    """
    names = ("confusion", "per_class", "roc", "precision_recall", "reliability", "mistakes", "least_confident")
    paths = {name: folder / f"{name}.png" for name in names}
    classes, about = dataset.class_names, f"{shorten(dataset.name, 44)}, {predictions.split} split"
    draw_confusion(
        paths["confusion"], scores.confusion, classes, title=f"{about}\naccuracy {scores.accuracy.value:.4f}"
    )
    draw_per_class(paths["per_class"], scores.classes, classes, title=f"{about}\nscores of each class")
    draw_roc(paths["roc"], scores.curves, classes, title=f"{about}\nROC curves")
    draw_precision_recall(paths["precision_recall"], scores.curves, classes, title=f"{about}\nprecision-recall curves")
    draw_reliability(paths["reliability"], scores, title=f"{about}\nreliability diagram")
    draw_mistakes(paths["mistakes"], predictions, dataset)
    draw_least_confident(paths["least_confident"], predictions, dataset)
    return paths
