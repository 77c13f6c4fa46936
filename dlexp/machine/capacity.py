"""Measures the capacity of this machine (cores, memory, disk), and checks whether something fits before it is made."""

import os
import pathlib
import shutil
from collections.abc import Iterator

from dlexp.errors import DataError
from dlexp.machine.units import format_bytes

_MEMINFO = pathlib.Path("/proc/meminfo")
_CGROUP = pathlib.Path("/sys/fs/cgroup")
_OWN_GROUPS = pathlib.Path("/proc/self/cgroup")


def check_fits_memory(needed_bytes: int, what: str) -> None:
    """Raises DataError with both figures if `what` does not fit in the memory that is available now."""
    available = available_memory_bytes()
    if available is not None and needed_bytes > available:
        raise DataError(
            f"{what} needs {format_bytes(needed_bytes)} of memory, but {format_bytes(available)} are available"
        )


def check_fits_disk(needed_bytes: int, what: str, folder: pathlib.Path) -> None:
    """Raises DataError with both figures if `what` does not fit on the disk of `folder`, which must exist."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DataError(
            f"{what} needs {format_bytes(needed_bytes)} on the disk of {folder}, but {format_bytes(free)} are free"
        )


def available_memory_bytes() -> int | None:
    """Returns the memory available without swapping, within the limits of all groups that this process is in.

    A container or a batch job is a control group (cgroup) with a limit. Pages of files that the kernel can drop count
    as available.

    Returns:
        Bytes; None if the system does not report them.
    """
    if not _MEMINFO.exists():
        return None
    fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
    return max(min([available, *_left_in_groups()]), 0)


def _left_in_groups() -> Iterator[int]:
    """Bytes that each memory group of this process still allows: its own, and those around it."""
    lines = _OWN_GROUPS.read_text().splitlines() if _OWN_GROUPS.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _left_up_from(_CGROUP, path, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _left_up_from(_CGROUP / "memory", path, names)


def _left_up_from(root: pathlib.Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Walks from a group up to the root; inside a container only the root may be visible."""
    limit_file, used_file, droppable_name = names
    own = pathlib.PurePosixPath(path.lstrip("/"))
    for group in (own, *own.parents):
        folder = root / group
        limit, used = _read_text(folder / limit_file), _read_text(folder / used_file)
        if ".." in group.parts or not limit.isdecimal() or not used.isdecimal():
            continue
        fields = dict(line.split() for line in _read_text(folder / "memory.stat").splitlines())
        yield int(limit) - int(used) + int(fields.get(droppable_name, 0))


def _read_text(path: pathlib.Path) -> str:
    """The contents of a file of the kernel; empty if it is not there or may not be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def count_cores() -> int:
    """Returns the number of cores this process may use; a batch job or `taskset` may allow fewer than there are."""
    return len(os.sched_getaffinity(0))
