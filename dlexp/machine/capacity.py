"""Measures the capacity of this machine (cores, memory, disk), and checks whether something fits before it is made."""

import os
import pathlib
import shutil

from dlexp.errors import DataError

_MEMINFO = pathlib.Path("/proc/meminfo")
_CGROUP = pathlib.Path("/sys/fs/cgroup")


def check_fits_memory(needed_bytes: int, what: str) -> None:
    """Raises DataError with both figures if `what` does not fit in the memory that is available now."""
    available = available_memory_bytes()
    if available is not None and needed_bytes > available:
        raise DataError(f"{what} needs {_gib(needed_bytes)} of memory, but {_gib(available)} are available")


def check_fits_disk(needed_bytes: int, what: str, folder: pathlib.Path) -> None:
    """Raises DataError with both figures if `what` does not fit on the disk of `folder`, which must exist."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DataError(f"{what} needs {_gib(needed_bytes)} on the disk of {folder}, but {_gib(free)} are free")


def available_memory_bytes() -> int | None:
    """Returns the memory available without swapping, within the container's limit; None if Linux does not report it."""
    if not _MEMINFO.exists():
        return None
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        available = min(available, int(limit.read_text()) - int(used.read_text()))
    return max(available, 0)


def _gib(count_bytes: int) -> str:
    return f"{count_bytes / 2**30:,.2f} GiB"


def count_cores() -> int:
    """Returns the number of cores this process may use; a batch job or `taskset` may allow fewer than there are."""
    return len(os.sched_getaffinity(0))
