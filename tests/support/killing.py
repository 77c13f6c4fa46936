"""Trainings in processes of their own that are killed and resumed, and the comparison with one that never was.

A fork server imports TensorFlow once; a training then starts in milliseconds, as killing costs a process each time.
"""

import json
import multiprocessing
import os
import pathlib
import resource
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

import mlflow
from matplotlib.backends.backend_agg import FigureCanvasAgg
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlexp.checkpoints.metadata import read_metadata
from dlexp.checkpoints.resume import ResumePoint, find_resume_point
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Run
from dlexp.runs.store import iterate_runs
from dlexp.tracking.tensorboard import FOLDER

_CLOCK_KEYS = ("epoch_seconds", "images_per_second", "step_seconds", "data_wait_seconds")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.killing_worker"])
draws_figures = True  # False: figures stay empty, which saves a third of the time of a short run
Training = multiprocessing.context.ForkServerProcess


def start_training(values: Mapping[str, Any], *, crash_at: str = "") -> Training:
    """Starts a process that begins the run of a store, or resumes it.

    Args:
        values: config fields, `store` among them.
        crash_at: `CALL:N`, to be killed at the Nth of these calls: `flush`, `replace`, `unlink`, `write`; or
            `limit:BYTES`, the largest file that the process can write.
    """
    process = _context.Process(target=_work, args=(dict(values), crash_at, draws_figures))
    process.start()
    return process


def finish(process: Training) -> int:
    """Waits for a process; its exit code, negative if a signal ended it."""
    process.join()
    return process.exitcode or 0


def train(values: Mapping[str, Any]) -> Run:
    """Trains to the end in a separate process, or resumes to the end."""
    assert finish(start_training(values)) == 0
    return only_run(values)


def train_under_kills(values: Mapping[str, Any], *, delays: list[float]) -> Run:
    """Kills the training after each of these seconds, then resumes it to the end."""
    for delay in delays:
        process = start_training(values)
        time.sleep(delay)
        process.kill()
        finish(process)
    return train(values)


def only_run(values: Mapping[str, Any]) -> Run:
    """The run of a store."""
    (run,) = iterate_runs(values["store"])
    return run


def differences(run: Run, reference: Run) -> list[str]:
    """In what a run differs from one that was never stopped; times of day do not count."""
    found = [
        f"{key}: {run.record().get(key)} != {reference.record().get(key)}"
        for key in ("status", "best_epoch", "metrics", "weights_digest")
        if run.record().get(key) != reference.record().get(key)
    ]
    if history(run) != history(reference):
        found.append("metric history")
    if _mlflow_history(run) != history(run):
        found.append("metric history in MLflow")
    if (run.path / FOLDER).exists() and _tensorboard_steps(run) != sorted((key, step) for key, step, _ in history(run)):
        found.append("steps in TensorBoard")
    one, other = find_resume_point(run), find_resume_point(reference)
    if one.position != other.position or _counters(one, run) != _counters(other, reference):
        found.append("position or counters")
    if one.state.keys() != other.state.keys():
        return [*found, "names of the state"]
    # By their bytes: NumPy knows no bfloat16.
    found += [key for key in one.state if one.state[key].tobytes() != other.state[key].tobytes()]
    kinds = sorted(read_metadata(path)["kind"] for path in run.checkpoints_folder.iterdir())
    return found if kinds == ["best", "last"] else [*found, f"files {kinds}"]


def _counters(point: ResumePoint, run: Run) -> str:
    """What callbacks remember, without the run's ID, which is in the names of kept files."""
    return json.dumps(point.callback_state).replace(run.id[:8], "")


def history(run: Run) -> list[tuple[str, int, float]]:
    """Every point without its time, sorted, but those of the clock: duplicates would show."""
    points = run.points()
    points = points[~points["key"].map(is_of_the_clock)]
    return sorted(zip(points["key"], points["step"].astype(int), points["value"], strict=True))


def is_of_the_clock(key: str) -> bool:
    """Whether a point measures the machine, so that no two runs have the same."""
    key = key.removeprefix("steps/")
    return key in _CLOCK_KEYS or key.startswith("load/")


def _mlflow_history(run: Run) -> list[tuple[str, int, float]]:
    client = mlflow.MlflowClient(f"sqlite:///{run.path.parents[2] / 'mlflow.db'}")
    keys = {key for key in run.points()["key"] if not is_of_the_clock(key)}
    return sorted(
        (metric.key, metric.step, metric.value) for key in keys for metric in client.get_metric_history(run.id, key)
    )


def _tensorboard_steps(run: Run) -> list[tuple[str, int]]:
    """Keys and steps of all scalars; values are `float32` there."""
    events = EventAccumulator(str(run.path / FOLDER), size_guidance={"tensors": 0}, purge_orphaned_data=False)
    events.Reload()
    keys = {key for key in run.points()["key"] if not is_of_the_clock(key)}
    return sorted((key, event.step) for key in keys for event in events.Tensors(key))


def _work(values: dict[str, Any], crash_at: str, draws: bool) -> None:
    from dlexp.errors import DlexpError
    from dlexp.experiment import resume_experiment, run_experiment

    if not draws:
        FigureCanvasAgg.draw = FigureCanvasAgg.get_renderer  # an empty picture
    if crash_at:
        _arm(*crash_at.split(":"))
    config = ExperimentConfig.of(**values)
    try:
        runs = list(iterate_runs(config.tracking.store))
        if runs:
            resume_experiment(runs[0].path)
        else:
            run_experiment(config)
    except DlexpError as err:
        print(f"dlexp: {err}", file=sys.stderr)
        sys.exit(err.exit_code)


def _arm(call: str, number: str) -> None:
    """Replaces a call that checkpoints are written with by one that kills this process at its Nth time."""
    import numpy

    from dlexp.machine import atomic

    if call == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number), int(number)))
        return
    owner: Any
    owner, name = {
        "flush": (atomic, "_flush"),
        "replace": (os, "replace"),
        "unlink": (pathlib.Path, "unlink"),
        "write": (numpy, "savez"),
    }[call]
    original, left = getattr(owner, name), [int(number)]

    def crash(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, crash)
