"""Fashion-MNIST from Debian's package dataset-fashion-mnist, and `dlexp` run as a process."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--virtual-time-budget=30000",
]  # fmt: skip


def dlexp(*words: str, cwd: pathlib.Path) -> str:
    """Runs `dlexp` in a separate process, and returns its stdout."""
    process = start_dlexp(*words, cwd=cwd)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def start_dlexp(*words: str, cwd: pathlib.Path) -> subprocess.Popen[str]:
    """Starts `dlexp` with all cores, as the first process of a session."""
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in threads}
    return subprocess.Popen(
        [sys.executable, "-m", "dlexp.commands.cli", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def rendered(url: str, profile: pathlib.Path, *, width: int = 1600) -> str:
    """Returns the DOM of a page after its scripts have run, in a window of `width` pixels."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    assert browser, "chromium is not installed: apt-get install chromium"
    command = [browser, *CHROMIUM, f"--user-data-dir={profile}", f"--window-size={width},1000"]
    return subprocess.run([*command, "--dump-dom", url], capture_output=True, text=True, timeout=180, check=True).stdout


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An empty folder that the commands run in."""
    return tmp_path_factory.mktemp("workspace")
