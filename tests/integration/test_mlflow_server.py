"""The MLflow tracker with a real server passes the conformance suite of trackers."""

import pathlib
from collections.abc import Iterator

import mlflow
import pytest

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.runs.run import Status, create_run
from dlexp.testing import TrackedRun, TrackerContract
from dlexp.tracking.mlflow.database import make_database
from dlexp.tracking.mlflow.tracker import MlflowTracker
from dlexp.tracking.ui import serve_mlflow
from tests.support.ports import free_port
from tests.tracking.test_conformance import read_points


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A separate server with an empty database."""
    folder = tmp_path_factory.mktemp("server")
    make_database(folder)
    with serve_mlflow(folder, port=free_port()) as url:
        yield url


class TestMlflowServer(TrackerContract):
    @pytest.fixture
    def tracked(self, url: str, tmp_path: pathlib.Path) -> Iterator[TrackedRun]:
        config = ExperimentConfig.of(store=str(tmp_path), system_metrics=False, tracking_uri=url)
        first = MlflowTracker(config.tracking)
        run_id = first.claim_run("conformance")  # a run on a server gets its ID this way
        first.finish(Status.KILLED)
        run = create_run(tmp_path, run_id, name="conformance", config=config)
        yield TrackedRun(run, lambda: MlflowTracker(config.tracking), lambda: read_points(url, run_id))
        while mlflow.active_run():  # one for each tracker that was opened and not finished
            mlflow.end_run()
