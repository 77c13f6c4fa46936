"""Scores of predictions, where all is defined and where it is not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from dlexp.evaluation.scores import mean_over_classes, score_classes, score_one_against_rest, score_top_k


def draw(examples: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels, of all classes, and probabilities."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(classes), examples)
    return np.arange(examples) % classes, probabilities


def test_areas_are_those_of_scikit_learn() -> None:
    labels, probabilities = draw(200, 4)
    for label, curve in enumerate(score_one_against_rest(labels, probabilities)):
        assert curve is not None
        assert curve.roc_auc == pytest.approx(roc_auc_score(labels == label, probabilities[:, label]))
        expected = average_precision_score(labels == label, probabilities[:, label])
        assert curve.average_precision == pytest.approx(expected)


def test_class_without_examples_or_with_all_of_them_has_no_curve() -> None:
    _, probabilities = draw(6, 3)
    curves = score_one_against_rest(np.zeros(6, int), probabilities)
    assert curves == [None, None, None]
    assert np.isnan(mean_over_classes([]))


def test_what_is_not_defined_is_nan_class_by_class_and_zero_in_the_averages() -> None:
    scores = score_classes(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]), 3)
    assert scores.support.tolist() == [2, 2, 0]
    assert scores.recall.tolist()[:2] == [1, 0]
    assert np.isnan([scores.precision[1], scores.recall[2], scores.f1[2]]).all()
    assert scores.averages["macro"] == pytest.approx({"precision": 0.25, "recall": 0.5, "f1": 1 / 3})


def test_macro_f1_is_that_of_scikit_learn_where_all_classes_have_examples() -> None:
    labels, probabilities = draw(300, 5)
    predictions = probabilities.argmax(axis=1)
    scores = score_classes(labels, predictions, 5)
    assert scores.averages["macro"]["f1"] == pytest.approx(f1_score(labels, predictions, average="macro"))


@given(st.integers(2, 12), st.integers(1, 30))
def test_more_guesses_are_right_at_least_as_often(classes: int, examples: int) -> None:
    labels, probabilities = draw(examples, classes)
    shares = score_top_k(labels, np.log(probabilities))
    assert list(shares) == [k for k in (1, 3, 5) if k == 1 or k < classes]
    assert shares[1].right == np.sum(probabilities.argmax(axis=1) == labels)
    rights = [share.right for share in shares.values()]
    assert rights == sorted(rights)
