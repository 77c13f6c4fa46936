"""Environments of the libraries that dlexp is compared with; they are made once and kept in `build/peers`."""

import pathlib
import subprocess
import sys
from collections.abc import Sequence

PEERS = pathlib.Path(__file__).parent / "peers"
_ENVIRONMENTS = pathlib.Path(__file__).parents[2] / "build" / "peers"


def peer_python(name: str, packages: Sequence[str]) -> pathlib.Path:
    """Returns the Python of an environment with these packages, which is created at the first call."""
    folder = _ENVIRONMENTS / name
    python, done = folder / "bin" / "python", folder / ".installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", *packages], check=True)
        done.touch()
    return python
