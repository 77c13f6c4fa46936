"""Cores that a process may use, and memory that it may still take, are those of its container or batch job."""

import os
import pathlib

import pytest

from dlexp.datasets.parallelism import count_workers
from dlexp.machine import capacity
from dlexp.machine.capacity import available_memory_bytes, count_cores

AVAILABLE = 8 * 2**20
NO_LIMIT = "9223372036854771712"


@pytest.fixture
def kernel(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder that stands for /sys/fs/cgroup, on a machine where 8 MiB are available."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 16384 kB\nMemAvailable: {AVAILABLE // 1024} kB\n")
    monkeypatch.setattr(capacity, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(capacity, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(capacity, "_CGROUP", tmp_path / "cgroup")
    return tmp_path / "cgroup"


def be_in(kernel: pathlib.Path, groups: str) -> None:
    (kernel.parent / "own").write_text(groups)


def write_v2(folder: pathlib.Path, *, limit: str, used: int, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file 7\n")


def write_v1(folder: pathlib.Path, *, limit: str, used: int, inactive: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"cache 5\ninactive_file 1\ntotal_inactive_file {inactive}\n")


def test_without_groups_the_memory_of_the_machine_is_available(kernel: pathlib.Path) -> None:
    assert available_memory_bytes() == AVAILABLE


def test_a_system_without_meminfo_reports_nothing(kernel: pathlib.Path) -> None:
    (kernel.parent / "meminfo").unlink()
    assert available_memory_bytes() is None


def test_a_container_sees_the_limit_of_its_group_at_the_root(kernel: pathlib.Path) -> None:
    be_in(kernel, "0::/\n")
    write_v2(kernel, limit="5000", used=1000)
    assert available_memory_bytes() == 4000


def test_a_group_without_a_limit_allows_what_the_machine_has(kernel: pathlib.Path) -> None:
    be_in(kernel, "0::/\n")
    write_v2(kernel, limit="max", used=1000)
    assert available_memory_bytes() == AVAILABLE


@pytest.mark.parametrize("smaller", ["job", "job/step", "job/step/task"])
def test_the_smallest_limit_of_nested_groups_counts(kernel: pathlib.Path, smaller: str) -> None:
    be_in(kernel, "0::/job/step/task\n")
    for group in ("job", "job/step", "job/step/task"):
        write_v2(kernel / group, limit="3000" if group == smaller else "9000", used=1000)
    assert available_memory_bytes() == 2000


def test_a_limit_of_a_group_that_the_process_is_not_in_does_not_count(kernel: pathlib.Path) -> None:
    be_in(kernel, "0::/job\n")
    write_v2(kernel / "job", limit="9000", used=1000)
    write_v2(kernel / "other", limit="10", used=1)
    assert available_memory_bytes() == 8000


def test_a_group_of_version_1_is_found_among_the_controllers(kernel: pathlib.Path) -> None:
    be_in(kernel, "9:name=systemd:/\n5:cpu,memory:/job/1\n1:cpuset:/other\n0::/\n")
    write_v1(kernel / "memory", limit=NO_LIMIT, used=100)
    write_v1(kernel / "memory" / "job" / "1", limit="7000", used=3000)
    assert available_memory_bytes() == 4000


def test_a_container_whose_group_has_another_path_inside_sees_the_limit_at_the_root(kernel: pathlib.Path) -> None:
    be_in(kernel, "4:memory:/docker/0123abcd\n")
    write_v1(kernel / "memory", limit="6000", used=1000)
    assert available_memory_bytes() == 5000


def test_a_group_outside_the_name_space_is_left_out(kernel: pathlib.Path) -> None:
    be_in(kernel, "0::/../../other\n")
    write_v2(kernel, limit="6000", used=1000)
    write_v2(kernel.parent.parent / "other", limit="10", used=1)
    assert available_memory_bytes() == 5000


def test_a_path_with_a_colon_is_a_path(kernel: pathlib.Path) -> None:
    be_in(kernel, "0::/job:7\n")
    write_v2(kernel / "job:7", limit="6000", used=1000)
    assert available_memory_bytes() == 5000


def test_pages_of_files_that_the_kernel_can_drop_are_available(kernel: pathlib.Path) -> None:
    be_in(kernel, "4:memory:/job\n0::/job\n")
    write_v1(kernel / "memory" / "job", limit="6000", used=5000, inactive=3000)
    write_v2(kernel / "job", limit="7000", used=6000, inactive=4000)
    assert available_memory_bytes() == 4000


def test_a_group_that_uses_more_than_its_limit_has_nothing_left(kernel: pathlib.Path) -> None:
    be_in(kernel, "0::/\n")
    write_v2(kernel, limit="1000", used=2000)
    assert available_memory_bytes() == 0


@pytest.fixture
def machine_of_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them may be used."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {8, 9})


@pytest.mark.usefixtures("machine_of_64_cores")
def test_only_cores_that_may_be_used_count() -> None:
    assert count_cores() == 2


@pytest.mark.usefixtures("machine_of_64_cores")
@pytest.mark.parametrize(("asked", "workers"), [(0, 2), (1, 1), (3, 3)])
def test_workers_are_as_many_as_asked_for_or_one_a_core(asked: int, workers: int) -> None:
    assert count_workers(asked) == workers
