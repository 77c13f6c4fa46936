"""A process that writes 50 points into a store, as a training does; many of them write at once."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3"}

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.machine.timestamps import now
from dlexp.runs.points import Point
from dlexp.runs.run import Status, create_run
from dlexp.tracking.base import RunDescription
from dlexp.tracking.mlflow import open_run
from dlexp.tracking.mlflow.tracker import MlflowTracker

POINTS = 50


def write_run(store: str, number: int) -> None:
    """Makes a run, writes its points one by one and ends it; whatever raises gives the process exit code 1.

    It waits for the database for as long as it takes: on a busy machine 16 processes need more than a minute.
    """
    open_run._DATABASE_GRACE_SECONDS = 600.0
    config = ExperimentConfig.of(store=store, seed=number)
    tracker = MlflowTracker(config.tracking)
    name = f"run-{number}"
    run = create_run(store, tracker.claim_run(name), name=name, config=config)
    with run.hold():
        tracker.start(RunDescription(run, name, config, "digits", "0123456789abcdef", {}, {}))
        for step in range(POINTS):
            tracker.log_points([Point("loss", step, 1, step / 100, now())])
        tracker.finish(Status.FINISHED)
        run.update(status=Status.FINISHED)
