"""Runs one trial of a sweep in a worker process: an ordinary run, but the driver copies it to MLflow."""

import logging
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from dlexp.errors import DivergedError, DlexpError, InterruptedRunError, PrunedError
from dlexp.experiment import resume_run, run_experiment
from dlexp.machine.console import silence_pillow
from dlexp.runs.resuming import plan_resume
from dlexp.runs.run import RECORD_FILE, Run, run_folder
from dlexp.sweeps.launchers.base import EpochEnded, Outcome, Report, TrialEnded, TrialJob
from dlexp.sweeps.warm_networks import WarmNetworks


class TrialRunner:
    """Runs trials one after another; the `Runner` of `dlexp sweep`."""

    def __init__(self) -> None:
        self._networks = WarmNetworks()
        silence_pillow()
        logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING, stream=sys.stderr)
        if gpu := os.environ.get("DLEXP_GPU"):
            _use_one_gpu(int(gpu))

    def run(self, job: TrialJob, report: Report) -> TrialEnded:
        """Trains, or resumes the run of a previous attempt."""
        number, outcome, reason = job.trial.trial, Outcome.FINISHED, ""
        path = run_folder(job.config.tracking.store, job.trial.run_id)
        given: dict[str, Any] = {
            "trial": job.trial,
            "callbacks": [EpochReporter(number, report)],
            "prepare_setup": self._networks.prepare,
        }
        try:
            if (path / RECORD_FILE).is_file():
                resume_run(plan_resume(Run(job.trial.run_id, path), {}), **given)
            else:
                run_experiment(job.config, **given)
        except InterruptedRunError as err:
            outcome, reason = Outcome.STOPPED, str(err)
        except PrunedError as err:
            outcome, reason = Outcome.PRUNED, str(err)
        except DivergedError as err:
            outcome, reason = Outcome.DIVERGED, str(err)
        except DlexpError as err:
            print(f"dlexp: {err}", file=sys.stderr)
            outcome, reason = Outcome.FAILED, str(err)
        except BaseException as err:  # noqa: BLE001
            # An exception of a model or a plug-in ends this trial, not the sweep.
            traceback.print_exc()
            outcome, reason = Outcome.FAILED, f"{type(err).__name__}: {err}"
        if outcome is not Outcome.FINISHED:
            self._networks.forget()
        return TrialEnded(number, outcome, reason)


class EpochReporter(keras.callbacks.Callback):
    """Reports every epoch, and ends the training if the trial is pruned.

    Args:
        trial: number of the trial.
        report: sends the report, and returns False if the trial is pruned.
    """

    def __init__(self, trial: int, report: Report) -> None:
        super().__init__()
        self._trial, self._report = trial, report

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Reports the epoch; raises PrunedError if the trial is pruned."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        if not self._report(EpochEnded(self._trial, epoch + 1, metrics)):
            raise PrunedError(f"pruned after epoch {epoch + 1}: other trials were better by then")


def _use_one_gpu(number: int) -> None:
    """Uses one GPU, and leaves the others to the other workers."""
    if gpus := tf.config.list_physical_devices("GPU"):
        tf.config.set_visible_devices(gpus[number % len(gpus)], "GPU")
