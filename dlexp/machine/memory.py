"""Measures the largest amount of memory that this process has had."""

import pathlib

_PROC = pathlib.Path("/proc")
_CLEAR_REFS = pathlib.Path("/proc/self/clear_refs")
_PEAK_FIELD = "VmHWM:"
_RESET_PEAK = "5"  # proc(5), /proc/pid/clear_refs


def peak_memory_bytes(pid: int | None = None) -> int | None:
    """Returns the peak of the resident memory of a process since its start, or since `reset_peak_memory`.

    It is VmHWM of proc(5). `resource.getrusage` is not used, as the `ru_maxrss` of a child begins at its parent's.

    Args:
        pid: of the process; None: this one.

    Returns:
        Bytes; None if the system does not report them, or if the process has ended.
    """
    try:
        lines = (_PROC / str(pid or "self") / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith(_PEAK_FIELD)]
    return int(found[0][1]) * 1024 if found else None


def reset_peak_memory() -> bool:
    """Sets the peak to the memory that this process has now; returns whether the system allows that."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="utf-8")
    except OSError:
        return False
    return True
