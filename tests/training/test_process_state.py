"""A training leaves the process of its caller as it was, however it ends."""

import logging
import os
import pathlib
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import matplotlib as mpl
import mlflow
import numpy as np
import pytest
import tensorflow as tf

from dlexp import ExperimentConfig, resume_experiment, run_experiment
from dlexp.errors import InterruptedRunError
from dlexp.models.keras_internals import get_global_seed
from dlexp.tracking.mlflow.database import database_path
from dlexp.training.process_state import keeping_the_callers_state
from tests.support.mlflow_store import client_of, copy_database

pytestmark = pytest.mark.usefixtures("quick_database", "blank_figures")


def quick(store: pathlib.Path, **values: Any) -> ExperimentConfig:
    """A training of a second."""
    small = {"model": "mlp", "model_args": {"hidden_sizes": [8]}, "epochs": 2, "verbose": 0, "seed": 11}
    return ExperimentConfig.of(**(small | {"store": str(store)} | values))


class At(keras.callbacks.Callback):
    """Calls a function at the end of the first epoch."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self._act = act

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Calls the function."""
        if epoch == 0:
            self._act()


def snapshot() -> dict[str, Any]:
    """The state of this process, by what it is."""
    names = ["", *sorted(logging.root.manager.loggerDict)]
    active = mlflow.active_run()
    return {
        "environment": dict(os.environ),
        "folder": pathlib.Path.cwd(),
        "python": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        "tensorflow seed": tf.compat.v1.get_seed(0),
        "keras seed": get_global_seed(),
        "dtype policy": keras.config.dtype_policy().name,
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "loggers": {
            name: (
                logging.getLogger(name).level,
                list(logging.getLogger(name).handlers),
                logging.getLogger(name).propagate,
            )
            for name in names
        },
        "warnings": list(warnings.filters),
        "threads": {thread.name for thread in threading.enumerate()},
        "matplotlib": (dict(mpl.rcParams), mpl.get_backend()),
        "tracking URI": mlflow.get_tracking_uri(),
        "registry URI": mlflow.get_registry_uri(),
        "active run": active and active.info.run_id,
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr),
        "floatx": keras.config.floatx(),
    }


def kill() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise OSError("the disk is full")


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Imports all that a training imports; libraries change the process while they are imported."""
    run_experiment(quick(tmp_path_factory.mktemp("first")).replace(epochs=1))


@pytest.fixture
def callers(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A store of the caller, which MLflow writes to."""
    copy_database(tmp_path / "callers")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{database_path(tmp_path / 'callers')}")
    yield tmp_path / "callers"
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("act", "raised", "values"),
    [
        (lambda: None, None, {}),
        (lambda: None, None, {"dtype_policy": "mixed_bfloat16"}),
        (fail, OSError, {}),
        (kill, InterruptedRunError, {}),
        (lambda: None, Exception, {"model_args": {"hidden_sizes": [-3]}}),
    ],
    ids=["finished", "mixed_precision", "failed", "interrupted", "refused"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_process_is_the_same_after_a_run_that(
    callers: pathlib.Path, tmp_path: pathlib.Path, act: Any, raised: Any, values: dict[str, Any], nested: bool
) -> None:
    own = mlflow.start_run() if nested else None
    before = snapshot()
    if raised:
        with pytest.raises(raised):
            run_experiment(quick(tmp_path / "ours", **values), callbacks=[At(act)])
    else:
        run_experiment(quick(tmp_path / "ours", **values), callbacks=[At(act)])
    after = snapshot()
    assert {name for name in before if before[name] != after[name]} == set()
    if own:
        mlflow.log_metric("after", 1.0)
        mlflow.end_run()
        ended = client_of(callers).get_run(own.info.run_id)
        assert (ended.info.status, ended.data.metrics) == ("FINISHED", {"after": 1.0})


def test_active_run_of_the_caller_is_usable_during_a_training_and_ours_stands_beside_it(
    callers: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    def log_from_a_thread() -> None:
        thread = threading.Thread(target=lambda: mlflow.log_metric("thread", 2.0, run_id=own.info.run_id))
        thread.start()
        thread.join()

    with mlflow.start_run() as own:
        mlflow.log_param("before", 1)
        made = run_experiment(
            quick(tmp_path / "ours"), callbacks=[At(log_from_a_thread), At(lambda: mlflow.log_metric("during", 3.0))]
        )
        mlflow.log_metric("after", 4.0)
    there = client_of(callers).get_run(own.info.run_id)
    assert (there.info.status, there.data.metrics) == ("FINISHED", {"thread": 2.0, "during": 3.0, "after": 4.0})
    ours = client_of(tmp_path / "ours").get_run(made.run.id)
    assert ours.info.status == "FINISHED"
    assert "mlflow.parentRunId" not in ours.data.tags
    assert len(client_of(callers).search_runs([there.info.experiment_id])) == 1


def test_process_is_the_same_after_a_resume(callers: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InterruptedRunError):
        run_experiment(quick(tmp_path / "ours"), callbacks=[At(kill)])
    before = snapshot()
    resume_experiment("latest", store=str(tmp_path / "ours"))
    after = snapshot()
    assert {name for name in before if before[name] != after[name]} == set()


def test_trackers_have_their_variables_during_a_training_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    names = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "WANDB_ERROR_REPORTING")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    during: dict[str, str] = {}
    before = dict(os.environ)
    run_experiment(quick(tmp_path / "ours"), callbacks=[At(lambda: during.update(os.environ))])
    assert [during[name] for name in names] == ["true", "1", "false"]
    assert during["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "7"
    assert dict(os.environ) == before


def test_autolog_of_the_caller_stays_on_and_records_nothing_of_ours(
    callers: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    mlflow.tensorflow.autolog(log_models=False)
    try:
        patched = keras.Model.fit
        run_experiment(quick(tmp_path / "ours"))
        assert keras.Model.fit is patched
        client = client_of(callers)
        assert client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]) == []
    finally:
        mlflow.tensorflow.autolog(disable=True)


def test_random_numbers_of_the_caller_are_those_of_a_process_without_a_training(tmp_path: pathlib.Path) -> None:
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), float(keras.random.uniform(()))]

    keras.utils.set_random_seed(3)
    expected = draw() + draw()
    keras.utils.set_random_seed(3)
    first = draw()
    with keeping_the_callers_state():
        keras.utils.set_random_seed(4)
        keras.config.set_dtype_policy("mixed_bfloat16")
        draw()
    assert first + draw() == expected
    assert keras.config.dtype_policy().name == "float32"
