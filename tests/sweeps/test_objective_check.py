"""An objective that a trial will not have is refused before the first trial."""

import contextlib
import pathlib
from typing import Any

import pytest

from dlexp.errors import ConfigError, UnknownNameError
from dlexp.registry import SOURCES
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.objective_check import check_objectives
from tests.support.small_sweeps import plan_of
from tests.training.test_preparation import one_class_validation


def check(store: pathlib.Path, objective: str, space: str = "seed=range(2)", **values: Any) -> None:
    check_objectives(plan_of(store, space, objectives=parse_objectives(objective), **values))


@pytest.mark.parametrize(
    "objective",
    ["val_accuracy", "test_loss", "val_top5_accuracy", "num_parameters", "val_loss,test_accuracy"],
)
def test_objective_that_every_run_has_is_accepted(tmp_path: pathlib.Path, objective: str) -> None:
    check(tmp_path, objective)


@pytest.mark.parametrize(
    ("objective", "hint"),
    [
        ("val_acuracy:max", "did you mean val_accuracy"),
        ("val_f1_score", "Known objectives"),
        ("auc", "Known objectives"),
        ("test_accuracy/photos", "did you mean"),
        ("val_recall/cat", "Known objectives"),
        ("gradient_norm", "Known objectives"),
    ],
)
def test_objective_that_no_run_has_is_refused_with_the_nearest(
    tmp_path: pathlib.Path, objective: str, hint: str
) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown objective .*{hint}"):
        check(tmp_path, objective)


def test_objective_is_there_where_the_metric_is_asked_for(tmp_path: pathlib.Path) -> None:
    check(tmp_path, "val_recall/3", "metrics=recall/3; seed=range(2)")


def test_objective_that_one_value_of_the_space_lacks_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown objective 'val_cross_entropy'"):
        check(tmp_path, "val_cross_entropy", "loss=choice(cross_entropy,focal)")


@pytest.mark.parametrize(
    ("objective", "metric", "reason"),
    [
        ("val_auc", "auc", "objective=val_auc is not defined, as validation has examples of one class only"),
        ("val_recall/dog", "recall/dog", "objective=val_recall/dog is not defined, as validation has no example"),
        ("test_auc", "auc", ""),
    ],
)
def test_objective_that_is_not_defined_on_its_split_is_refused(
    tmp_path: pathlib.Path, objective: str, metric: str, reason: str
) -> None:
    refused = pytest.raises(ConfigError, match=reason) if reason else contextlib.nullcontext()
    with SOURCES.override("lopsided", one_class_validation), refused:
        check(tmp_path, objective, f"dataset=lopsided; metrics={metric}; batch_size=8; seed=range(2)")


def test_metric_of_a_plug_in_is_accepted_with_its_direction(tmp_path: pathlib.Path) -> None:
    check(tmp_path, "val_mine:max", "callbacks=mine; seed=range(2)")


def test_pruner_needs_an_objective_of_every_epoch(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ConfigError, match="test_accuracy is measured once, at the end"):
        check(tmp_path, "test_accuracy", pruner="median")
