"""A run that the tests of callbacks look at."""

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.experiment import run_experiment
from dlexp.runs.run import Run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three epochs of 20 steps on digits, with points every 10 steps."""
    store = tmp_path_factory.mktemp("store")
    config = ExperimentConfig.of(
        model="mlp",
        epochs=3,
        steps_per_execution="5",
        log_every_steps=10,
        histograms=True,
        store=str(store),
        verbose=0,
        mlflow_autolog=False,
    )
    return run_experiment(config).run
