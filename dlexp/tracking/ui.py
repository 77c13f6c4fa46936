"""Serves the MLflow UI and TensorBoard for a store, only on this machine."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence

from dlexp.errors import StoreError
from dlexp.tracking.mlflow.database import close_dead_runs, database_path

HOST = "127.0.0.1"
_START_SECONDS = 120
_STOP_SECONDS = 5


@contextlib.contextmanager
def serve_mlflow(store: str | pathlib.Path, *, port: int) -> Iterator[str]:
    """Runs the MLflow UI on a store inside the block, and yields its URL as soon as it answers.

    Raises:
        StoreError: the store has no MLflow database, the port is taken, or the server does not start.
    """
    folder, database = pathlib.Path(store).resolve(), database_path(store)
    if not database.is_file():
        raise StoreError(f"store {str(store)!r} holds no MLflow database: train a run first, or give its --store")
    close_dead_runs(store)
    command = ["mlflow", "server", "--backend-store-uri", f"sqlite:///{database}"]
    command += ["--default-artifact-root", (folder / "artifacts").as_uri(), "--workers", "1"]
    with _serve(command, port=port, path="/health") as url:
        yield url


@contextlib.contextmanager
def serve_tensorboard(store: str | pathlib.Path, *, port: int) -> Iterator[str]:
    """Runs TensorBoard on all runs of a store inside the block, and yields its URL as soon as it answers.

    Raises:
        StoreError: the store holds no runs, the port is taken, or the server does not start.
    """
    folder = pathlib.Path(store).resolve() / "artifacts"
    if not folder.is_dir():
        raise StoreError(f"store {str(store)!r} holds no runs: train one first, or give its --store")
    with _serve(["tensorboard.main", "--logdir", str(folder)], port=port, path="/") as url:
        yield url


@contextlib.contextmanager
def _serve(module: Sequence[str], *, port: int, path: str) -> Iterator[str]:
    _check_port_free(port)
    command = [
        sys.executable,
        "-m",
        "dlexp.machine.parent_watch",
        sys.executable,
        "-m",
        *module,
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    # A separate session: the servers start child processes, and all of them must end together.
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://{HOST}:{port}"
    try:
        _wait_until_up(process, url + path)
        yield url
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)


def _check_port_free(port: int) -> None:
    with socket.socket() as probe:
        # The servers set this too: a port with connections in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as err:
            raise StoreError(f"port {port} of {HOST} cannot be used ({err.strerror}): choose another --port") from err


def _wait_until_up(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StoreError(f"the server at {url} ended with exit code {process.returncode} before it answered")
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.2)
    raise StoreError(f"the server at {url} did not answer within {_START_SECONDS} seconds")
