"""Reads the memory of the GPUs of this machine from NVIDIA's driver, without taking any of it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

_COMMAND = "nvidia-smi"
_QUERY = ("--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")  # in MiB
_TIMEOUT_S = 10.0


def read_gpu_memory() -> list[int]:
    """Returns the memory of each GPU that this process can use, in bytes; 0 if the driver does not report it.

    The order is that of TensorFlow: `CUDA_VISIBLE_DEVICES` chooses GPUs by number or UUID, and sorts them. Its numbers
    are taken for those of the driver, as `CUDA_DEVICE_ORDER=PCI_BUS_ID` makes them; CUDA itself may number GPUs of
    several models otherwise (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables). The
    memory of a part of a GPU (MIG) is not reported. The list is empty if there is no driver, or it does not answer.
    """
    gpus = _query_driver()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [gpu.memory_bytes for gpu in gpus] if visible is None else _choose(gpus, visible.split(","))


@dataclass(frozen=True)
class _Gpu:
    index: str
    uuid: str
    memory_bytes: int  # 0: not reported

    def is_named(self, name: str) -> bool:
        return name == self.index or (bool(name) and self.uuid.startswith(name))


def _query_driver() -> list[_Gpu]:
    program = shutil.which(_COMMAND)
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return []
    rows = [[part.strip() for part in line.split(",")] for line in answer.stdout.splitlines()]
    return [_Gpu(index, uuid, _bytes_of(total)) for index, uuid, total in (row for row in rows if len(row) == 3)]


def _bytes_of(mebibytes: str) -> int:
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else 0


def _choose(gpus: Sequence[_Gpu], visible: Sequence[str]) -> list[int]:
    totals = []
    for name in map(str.strip, visible):
        found = [gpu.memory_bytes for gpu in gpus if gpu.is_named(name)]
        if not found and not name.startswith("MIG-"):
            break  # CUDA ignores what follows an unknown name, such as -1
        totals.append(found[0] if found else 0)
    return totals
