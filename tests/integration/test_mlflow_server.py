"""MLflow's tracker on a real server keeps the contract of trackers."""

import pathlib
from collections.abc import Iterator

import mlflow
import pytest

from dlexp.testing import TrackedRun, TrackerContract
from dlexp.tracking.mlflow.database import make_database
from dlexp.tracking.ui import serve_mlflow
from tests.integration.conftest import free_port
from tests.tracking.test_conformance import track_with_mlflow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, with an empty database."""
    folder = tmp_path_factory.mktemp("server")
    make_database(folder)
    with serve_mlflow(folder, port=free_port()) as url:
        yield url


class TestMlflowServer(TrackerContract):
    @pytest.fixture
    def tracked(self, url: str, tmp_path: pathlib.Path) -> Iterator[TrackedRun]:
        yield track_with_mlflow(tmp_path / "store", tracking_uri=url)
        while mlflow.active_run():  # one for each tracker that was opened and not finished
            mlflow.end_run()
