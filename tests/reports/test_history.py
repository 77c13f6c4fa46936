"""The picture of how a training went."""

import pathlib
from typing import Any

import pytest

from dlexp import experiment
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.errors import DivergedError
from dlexp.experiment import run_experiment
from dlexp.reports.history import draw_history
from dlexp.runs.points import make_points
from dlexp.runs.run import create_run
from dlexp.runs.store import find_run
from dlexp.training.callbacks.point_logger import PointLogger


def test_history_of_a_run_without_an_epoch_is_not_drawn(tmp_path: pathlib.Path) -> None:
    empty = create_run(tmp_path, "a" * 32, name="run", config=ExperimentConfig())
    draw_history(empty)
    assert not (empty.path / "history.png").exists()


def test_run_that_diverged_has_its_history_up_to_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any, callbacks: list[Any], **__: Any) -> None:
        (logger,) = (callback for callback in callbacks if isinstance(callback, PointLogger))
        logger._log.append(make_points({"loss": 1.0, "val_loss": 1.5}, step=20, epoch=1))
        raise DivergedError(25)

    monkeypatch.setattr(experiment, "train_model", diverge)
    with pytest.raises(DivergedError):
        run_experiment(ExperimentConfig.of(model="mlp", store=str(tmp_path), verbose=0, mlflow_autolog=False))
    assert (find_run("latest", tmp_path).path / "history.png").exists()
