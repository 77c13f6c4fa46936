"""Settings of every test process, made before anything imports TensorFlow or MLflow."""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MPLBACKEND": "Agg",
    # `make test` runs two processes on two cores: more threads would only wait for each other.
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "2",
}
# Tests run on the CPU, also where there is a GPU: results are compared bit for bit, and several processes would share
# its memory. `CUDA_VISIBLE_DEVICES=0 make test` runs them on the first GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# A test never writes to the server, nor to the caches, that a developer works with. Keras reads KERAS_HOME once, when
# it is imported.
os.environ.pop("MLFLOW_TRACKING_URI", None)
for _name in ("DLEXP_CACHE", "KERAS_HOME"):
    os.environ[_name] = tempfile.mkdtemp(prefix="dlexp-test-cache-")
    atexit.register(shutil.rmtree, os.environ[_name], ignore_errors=True)

# The first example pays for imports and tracing: a deadline would measure those.
hypothesis.settings.register_profile("dlexp", deadline=None)
hypothesis.settings.load_profile("dlexp")


@pytest.fixture(autouse=True)
def _no_mlflow_run_stays_active() -> Iterator[None]:
    """A run that a test leaves active would be the parent of the next test's, in a database that is gone."""
    yield
    left = []
    if mlflow := sys.modules.get("mlflow"):
        while run := mlflow.active_run():
            left.append(run.info.run_id)
            with contextlib.suppress(mlflow.exceptions.MlflowException):  # its database is gone: it is forgotten first
                mlflow.end_run()
    assert not left


@pytest.fixture
def quick_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The MLflow database of a new store is copied, as MLflow takes more than a second to make one."""
    from dlexp.tracking.mlflow import connection
    from tests.support.mlflow_store import copy_database

    monkeypatch.setattr(connection, "make_database", copy_database)


@pytest.fixture
def blank_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures stay empty, as drawing them takes a third of the time of a short run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    monkeypatch.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.get_renderer)
