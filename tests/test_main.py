"""`dlexp train --batch_size=auto`: the batch size is chosen before the training."""

import pathlib
from collections.abc import Iterable
from typing import Any

import pytest

from dlexp import experiment
from dlexp.commands.cli import main
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.memory import choice


class TrainedError(Exception):
    """Raised in place of a training."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[ExperimentConfig]:
    """The configs of the trainings that were begun."""
    configs: list[ExperimentConfig] = []

    def run_experiment(config: ExperimentConfig) -> Any:
        configs.append(config)
        raise TrainedError

    monkeypatch.setattr(experiment, "run_experiment", run_experiment)
    return configs


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ExperimentConfig]:
    """The configs that a batch size was chosen for."""
    configs: list[ExperimentConfig] = []

    def choose_batch_size(asking: Iterable[ExperimentConfig], *, budget: None, report: Any) -> dict[str, int]:
        configs.extend(asking)
        report("batch_size=256: it fits")
        return {"batch_size": 256}

    monkeypatch.setattr(choice, "choose_batch_size", choose_batch_size)
    return configs


def train(*words: str) -> int:
    return main(["dlexp", "train", "--model=mlp", *words])


def test_batch_size_is_chosen_before_the_training_and_reported(
    trained: list[ExperimentConfig],
    asked: list[ExperimentConfig],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("--batch_size=auto", f"--store={tmp_path}") == 1
    assert [config.data.has_auto_size for config in asked] == [True]
    assert [config.data.batch_size for config in trained] == [256]
    assert "dlexp: batch_size=256: it fits\n" in capsys.readouterr().err


def test_nothing_is_measured_for_a_batch_size_that_is_given(
    trained: list[ExperimentConfig], asked: list[ExperimentConfig], tmp_path: pathlib.Path
) -> None:
    train("--batch_size=8", f"--store={tmp_path}")
    assert asked == []
    assert [config.data.batch_size for config in trained] == [8]


def test_unknown_name_is_refused_before_a_batch_size_is_chosen(
    trained: list[ExperimentConfig], asked: list[ExperimentConfig], tmp_path: pathlib.Path
) -> None:
    assert train("--batch_size=auto", "--model=resnet2", f"--store={tmp_path}") == 2
    assert asked == trained == []
