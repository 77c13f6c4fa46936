"""Fashion-MNIST as Debian's package dataset-fashion-mnist brings it, and the command line as a process."""

import os
import pathlib
import subprocess
import sys

import pytest

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")


def dlexp(*words: str, cwd: pathlib.Path) -> str:
    """Runs `dlexp` in a process of its own, with all cores, and returns its stdout."""
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in threads}
    command = [sys.executable, "-m", "dlexp.cli", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An empty folder that the commands run in."""
    return tmp_path_factory.mktemp("workspace")
