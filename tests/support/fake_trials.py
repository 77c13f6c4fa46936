"""Trials without TensorFlow that a sweep can be driven with: they have run folders, and resume where they were."""

import json
import os
import time

from dlexp.machine.timestamps import now
from dlexp.runs.run import RECORD_FILE, Run, Status, create_run, run_folder
from dlexp.sweeps.launchers.base import EpochEnded, Outcome, Report, TrialEnded, TrialJob

RUNNER = "tests.support.fake_trials:CheckpointedTrials"
_EPOCH_SECONDS = 0.2


class CheckpointedTrials:
    """A `Runner` whose trials note in their record which process has done which epoch, and do none twice."""

    def run(self, job: TrialJob, report: Report) -> TrialEnded:
        """Does the epochs that no previous attempt has done."""
        run = _open_run(job)
        with run.hold():
            for epoch in range(len(run.record()["epochs"]) + 1, job.config.optimization.epochs + 1):
                time.sleep(_EPOCH_SECONDS)
                run.update(epochs=[*run.record()["epochs"], [epoch, os.getpid()]])
                report(EpochEnded(job.trial.trial, epoch, {"val_accuracy": epoch / 10}))
            run.update(status=Status.FINISHED, ended=now(), metrics={"val_accuracy": job.config.seed / 100})
        return TrialEnded(job.trial.trial, Outcome.FINISHED)


def _open_run(job: TrialJob) -> Run:
    path = run_folder(job.config.tracking.store, job.trial.run_id)
    if (path / RECORD_FILE).is_file():
        return Run(job.trial.run_id, path)
    name = f"trial-{job.trial.trial}"
    return create_run(job.config.tracking.store, job.trial.run_id, name=name, config=job.config, epochs=[])


def epochs_of(run: Run) -> list[tuple[int, int]]:
    """The epochs of a run in the order they were done, each with the process that has done it."""
    record = json.loads((run.path / RECORD_FILE).read_text(encoding="utf-8"))
    return [(epoch, pid) for epoch, pid in record["epochs"]]
