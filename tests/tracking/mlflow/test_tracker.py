"""The MLflow tracker: the order of its calls, and what it leaves to the caller."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest

from dlexp.config.sections import TrackingConfig
from dlexp.errors import StoreError
from dlexp.runs.run import Status
from dlexp.tracking.base import RunDescription
from dlexp.tracking.mlflow.database import database_path, make_database
from dlexp.tracking.mlflow.tracker import MlflowTracker
from tests.support.mlflow_store import client_of


def test_mlflow_database_that_is_garbage_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mlflow.db").write_text("garbage" * 1000)
    with pytest.raises(StoreError, match=r"MLflow cannot use 'sqlite:///.*mlflow\.db'"):
        MlflowTracker(TrackingConfig(store=str(tmp_path))).claim_run("run")


def test_calls_in_another_order_are_refused_with_what_to_do(tmp_path: pathlib.Path) -> None:
    tracker = MlflowTracker(TrackingConfig(store=str(tmp_path)))
    with pytest.raises(StoreError, match=r"call start\(\) or resume\(\) first"):
        tracker.log_points([])
    tracker.finish(Status.FAILED)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_claimed_and_never_started_is_closed_with_its_status(tmp_path: pathlib.Path) -> None:
    tracker = MlflowTracker(TrackingConfig(store=str(tmp_path)))
    run_id = tracker.claim_run("run")
    tracker.finish(Status.KILLED)
    assert client_of(tmp_path).get_run(run_id).info.status == "KILLED"


def test_a_run_of_the_user_stays_the_active_one(description: RunDescription) -> None:
    make_database(description.run.path.parents[2])
    with _caller(description.run.path.parents[2]), mlflow.start_run() as own:
        tracker = MlflowTracker(description.config.tracking)
        tracker.start(description)
        tracker.finish(Status.FINISHED)
        tracker.finish(Status.FINISHED)
        assert mlflow.active_run().info.run_id == own.info.run_id


def test_a_run_is_shown_below_the_active_run_of_the_caller_in_the_same_store(tmp_path: pathlib.Path) -> None:
    make_database(tmp_path)
    with _caller(tmp_path), mlflow.start_run() as own:
        made = MlflowTracker(TrackingConfig(store=str(tmp_path))).claim_run("run")
    assert client_of(tmp_path).get_run(made).data.tags["mlflow.parentRunId"] == own.info.run_id


def test_a_run_stands_beside_the_active_run_of_the_caller_in_another_store(tmp_path: pathlib.Path) -> None:
    make_database(tmp_path / "callers")
    with _caller(tmp_path / "callers"), mlflow.start_run():
        made = MlflowTracker(TrackingConfig(store=str(tmp_path / "ours"))).claim_run("run")
    assert "mlflow.parentRunId" not in client_of(tmp_path / "ours").get_run(made).data.tags


def test_a_new_run_has_the_tags_that_mlflow_gives_its_own(tmp_path: pathlib.Path) -> None:
    made = MlflowTracker(TrackingConfig(store=str(tmp_path), tags={"team": 7})).claim_run("run")
    tags = client_of(tmp_path).get_run(made).data.tags
    assert tags.keys() >= {"mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.runName"}
    assert tags["team"] == "7"


@contextlib.contextmanager
def _caller(store: pathlib.Path) -> Iterator[None]:
    """Within the block, MLflow is used as a notebook does it, with its own store."""
    previous = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(f"sqlite:///{database_path(store)}")
    yield
    mlflow.set_tracking_uri(previous)


@pytest.mark.parametrize(
    ("values", "begin", "expected"),
    [({}, "start", ["Autolog"]), ({"mlflow_autolog": False}, "start", []), ({}, "resume", [])],
)
def test_autolog_is_attached_where_a_run_starts(
    description: RunDescription, values: dict[str, Any], begin: str, expected: list[str]
) -> None:
    tracker = MlflowTracker(description.config.replace(system_metrics=False, **values).tracking)
    tracker.start(description) if begin == "start" else tracker.resume(description, [])
    names = [type(callback).__name__ for callback in tracker.keras_callbacks()]
    tracker.finish(Status.FINISHED)
    assert names == expected
