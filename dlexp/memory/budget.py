"""The memory that trainings may use: of a GPU or of this machine, and the margin that stays free."""

import re
from dataclasses import dataclass, replace

from dlexp.errors import ConfigError
from dlexp.machine.capacity import available_memory_bytes
from dlexp.machine.gpu import read_gpu_memory
from dlexp.machine.units import format_bytes, parse_bytes

CPU = "cpu"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The memory that a training may use.

    Attributes:
        device: `cpu`, or `gpu:N`.
        total_bytes: no training may use more.
        margin: share of it that stays free, from 0 to below 1, for what a short measurement does not see.
        origin: where the figure comes from, in a few words.
    """

    device: str
    total_bytes: int
    margin: float
    origin: str

    @property
    def usable_bytes(self) -> int:
        """The memory that a measured run may use."""
        return int(self.total_bytes * (1 - self.margin))

    def shared_by(self, trainings: int) -> "Budget":
        """Returns the budget of one of several trainings at once."""
        if trainings == 1:
            return self
        return replace(
            self, total_bytes=self.total_bytes // trainings, origin=f"{self.origin}, for {trainings} at once"
        )

    def __str__(self) -> str:
        return f"{format_bytes(self.total_bytes)} ({self.origin})"


def find_budget(*, device: str = "auto", memory: str = "", margin: str = "10%") -> Budget:
    """Finds the memory that trainings may use.

    Args:
        device: `auto` (the first GPU, or the CPU if there is none), `cpu`, `gpu` or `gpu:N`.
        memory: a size with its unit, such as `8GiB`; empty: all memory of the GPU, or the memory of this machine that
            is available now, within the limits of its container or batch job.
        margin: a share in percent.

    Raises:
        ConfigError: a text cannot be read, there is no such device, or its memory is not known.
    """
    gpus = [] if device == CPU else read_gpu_memory()
    name = _choose_device(device, gpus)
    given, share = parse_bytes("memory_budget", memory), _parse_margin(margin)
    if given:
        return Budget(device=name, total_bytes=given, margin=share, origin="as given")
    if name != CPU:
        total = gpus[int(name.partition(":")[2])]
        if not total:
            raise ConfigError(f"the memory of {name} is not known to nvidia-smi: give --memory_budget=8GiB")
        return Budget(device=name, total_bytes=total, margin=share, origin=f"the memory of {name}")
    available = available_memory_bytes()
    if available is None:
        raise ConfigError(
            "the memory of this machine is not known, because there is no /proc/meminfo: give --memory_budget=8GiB"
        )
    return Budget(device=name, total_bytes=available, margin=share, origin="the memory that is available")


def _choose_device(device: str, gpus: list[int]) -> str:
    if device == CPU or (device == "auto" and not gpus):
        return CPU
    found = re.fullmatch(r"gpu(?::(\d+))?", "gpu" if device == "auto" else device)
    if not found:
        raise ConfigError(f"--device={device} is not known: give auto, cpu, gpu or gpu:N")
    number = int(found[1] or 0)
    if number >= len(gpus):
        there = f"only gpu:0 to gpu:{len(gpus) - 1}" if len(gpus) > 1 else "only gpu:0" if gpus else "no GPU"
        raise ConfigError(
            f"--device={device} is not there, as nvidia-smi and CUDA_VISIBLE_DEVICES give {there}: "
            "give another --device"
        )
    return f"gpu:{number}"


def _parse_margin(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", text.strip())
    share = float(found[1]) / 100 if found else 1.0
    if not 0 <= share < 1:
        raise ConfigError(f"--margin={text} must be a share in percent, at least 0% and below 100%, such as 10%")
    return share
