"""Lists the NVIDIA GPUs of this machine and their memory, without loading CUDA."""

import shutil
import subprocess
from dataclasses import dataclass

_QUERY = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
_SECONDS = 10
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, as `nvidia-smi` lists it.

    Attributes:
        name: of its model.
        total_bytes: its memory.
        free_bytes: what no process uses now.
    """

    name: str
    total_bytes: int
    free_bytes: int


def list_gpus() -> list[Gpu]:
    """Returns the GPUs by number; empty if `nvidia-smi` is not there, fails, or does not know their memory."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        printed = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_SECONDS, check=True, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return []
    rows = [line.rsplit(",", 2) for line in printed.splitlines() if line.strip()]
    if not all(len(row) == 3 and row[1].strip().isdecimal() and row[2].strip().isdecimal() for row in rows):
        return []
    return [Gpu(name=n.strip(), total_bytes=int(t) * _MIB, free_bytes=int(f) * _MIB) for n, t, f in rows]
