"""Commands that are stopped or killed, as a terminal or a batch system does it."""

import pathlib
import shlex
import signal
import urllib.error
import urllib.request

import pytest

from dlexp.runs.store import list_runs
from dlexp.tracking.ui import HOST
from tests.integration.conftest import dlexp, start_dlexp
from tests.support.ports import free_port
from tests.support.waiting import wait_for


def has_checkpoint(folder: pathlib.Path) -> bool:
    return any(folder.rglob("*__last__*.keras"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signal_ends_a_training_at_once_with_the_command_that_resumes(
    tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    process = start_dlexp("train", "--epochs=2000", "--verbose=0", cwd=tmp_path)
    wait_for(lambda: has_checkpoint(tmp_path))
    process.send_signal(number)
    _, err = process.communicate(timeout=60)  # far from the end of its 2000 epochs
    assert process.returncode == 75
    (status,) = list_runs(tmp_path / "mlruns")["status"]
    assert status == "KILLED"
    program, *words = shlex.split(err.strip().split("resume with: ")[1])
    assert program == "dlexp"
    again = start_dlexp(*words, "--verbose=0", cwd=tmp_path)
    wait_for(lambda: list_runs(tmp_path / "mlruns")["status"].item() == "RUNNING")
    again.kill()
    again.communicate()


def test_killed_training_leaves_no_process(tmp_path: pathlib.Path) -> None:
    process = start_dlexp("train", "--epochs=2000", "--verbose=0", cwd=tmp_path)
    wait_for(lambda: has_checkpoint(tmp_path))
    process.kill()
    process.communicate()
    wait_for(lambda: not processes_of(tmp_path))


def test_killed_ui_takes_its_server_with_it(tmp_path: pathlib.Path) -> None:
    dlexp("train", "--model=mlp", "--epochs=1", "--verbose=0", cwd=tmp_path)
    port = free_port()
    process = start_dlexp("ui", "--tensorboard", f"--port={port}", cwd=tmp_path)
    wait_for(lambda: answers(port))
    assert len(processes_of(tmp_path)) > 1
    process.kill()
    process.wait()
    wait_for(lambda: not processes_of(tmp_path))
    assert not answers(port)


def processes_of(folder: pathlib.Path) -> list[int]:
    """Returns the IDs of the processes whose working directory is a folder."""
    found = []
    for link in pathlib.Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == folder:
                found.append(int(link.parent.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
