"""A run that trackers copy."""

import pathlib

import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import create_run
from dlexp.tracking.base import RunDescription

RUN = "a1b2c3d4" + "0" * 24


@pytest.fixture
def description(tmp_path: pathlib.Path) -> RunDescription:
    """A new run and what is known of it."""
    config = ExperimentConfig.of(store=str(tmp_path))
    run = create_run(tmp_path, RUN, name="run", config=config)
    return RunDescription(run, "run", config, "digits", "0123456789abcdef", {"train": 3}, {"num_parameters": 7})
