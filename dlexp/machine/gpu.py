"""Reads the memory of the GPUs of this machine from NVIDIA's driver, without taking any of it."""

import shutil
import subprocess
from dataclasses import dataclass

_COMMAND = "nvidia-smi"
_QUERY = ("--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits")  # in MiB
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class GpuMemory:
    """The memory of a GPU, in bytes: all of it, and what no process has taken."""

    total_bytes: int
    free_bytes: int


def read_gpu_memory() -> list[GpuMemory]:
    """Returns the memory of each GPU, in the order of the driver; none if there is no driver, or it does not answer.

    GPUs that report no memory, such as parts of a shared one, are left out. `CUDA_VISIBLE_DEVICES` is not considered.
    """
    program = shutil.which(_COMMAND)
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return []
    found = [[part.strip() for part in line.split(",")] for line in answer.stdout.splitlines()]
    return [
        GpuMemory(*(int(part) * 2**20 for part in parts))
        for parts in found
        if len(parts) == 2 and all(map(str.isdecimal, parts))
    ]
