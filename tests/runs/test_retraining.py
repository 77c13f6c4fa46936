"""The `run.flags` and `config.json` of a run train the same again, also after a resume with more epochs."""

import os
import pathlib
import signal
from typing import Any

import keras
import pytest

from dlexp import ExperimentConfig, resume_experiment, run_experiment
from dlexp.config.flags import config_from_words
from dlexp.errors import InterruptedRunError
from dlexp.runs.run import Run

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")


def tiny(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    quick = {
        "model": "mlp", "model_args": {"hidden_sizes": [8], "dropout": 0.2}, "epochs": 2, "verbose": 0,
        "evaluation_report": False, "sample_pictures": False, "tensorboard": False, "system_metrics": False,
    }  # fmt: skip
    return ExperimentConfig.of(**(quick | {"store": str(store)} | values))


def assert_trains_the_same_again(run: Run, store: pathlib.Path) -> None:
    from_flags = config_from_words([f"--flagfile={run.path}/run.flags"])
    assert from_flags.digest() == run.config().digest()
    again = run_experiment(from_flags.replace(store=str(store))).run
    for name in ("weights_digest", "best_epoch", "metrics"):
        assert again.record()[name] == run.record()[name], name


@pytest.mark.parametrize("lr_schedule", ["constant", "plateau", "cosine", "step", "exponential", "one_cycle"])
def test_resume_with_more_epochs_is_trained_again_by_its_flags(tmp_path: pathlib.Path, lr_schedule: str) -> None:
    warmup = 0.0 if lr_schedule == "plateau" else 0.5
    config = tiny(tmp_path / "one", lr_schedule=lr_schedule, warmup_epochs=warmup, plateau_patience=1)
    run = run_experiment(config).run
    resume_experiment(run.path, epochs=3, extend_schedule=True)
    assert_trains_the_same_again(run, tmp_path / "again")


class Kill(keras.callbacks.Callback):
    """Asks the process to stop within the first epoch."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Sends SIGTERM once."""
        if batch == 5:
            os.kill(os.getpid(), signal.SIGTERM)


def test_extension_of_an_unfinished_run_is_trained_again_by_its_flags(tmp_path: pathlib.Path) -> None:
    config = tiny(tmp_path / "one", lr_schedule="cosine", steps_per_execution="1", run_name="mine")
    with pytest.raises(InterruptedRunError):
        run_experiment(config, callbacks=[Kill()])
    run = resume_experiment("latest", store=str(tmp_path / "one"), epochs=4, extend_schedule=True).run
    assert run.record()["name"] == run.config().tracking.run_name == "mine-from2"
    resume_experiment(run.path, epochs=5, extend_schedule=True)
    assert run.config().optimization.extended_from == ("2", "4")
    assert_trains_the_same_again(run, tmp_path / "again")
