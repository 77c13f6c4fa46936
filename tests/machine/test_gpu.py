"""The memory of GPUs as NVIDIA's program prints it; a script stands for the program."""

import os
import pathlib

import pytest

from dlexp.machine import gpu
from dlexp.machine.gpu import GpuMemory, read_gpu_memory

MIB = 2**20


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The first folder of PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def write_program(folder: pathlib.Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_total_and_free_memory_of_each_gpu_are_read(folder: pathlib.Path) -> None:
    write_program(folder, 'echo "$@" > "$(dirname "$0")/asked"; echo "24564, 23000"; echo "81559, 512"')
    assert read_gpu_memory() == [GpuMemory(24564 * MIB, 23000 * MIB), GpuMemory(81559 * MIB, 512 * MIB)]
    asked = (folder / "asked").read_text().split()
    assert asked == ["--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits"]


@pytest.mark.parametrize(
    "script", ["echo no driver; exit 9", "echo '[N/A], [N/A]'", "echo '[Insufficient Permissions], 3'", "echo 5", ":"]
)
def test_a_program_that_knows_no_memory_gives_none(folder: pathlib.Path, script: str) -> None:
    write_program(folder, script)
    assert read_gpu_memory() == []


def test_without_the_program_there_are_none(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert read_gpu_memory() == []


def test_a_program_that_cannot_run_gives_none(folder: pathlib.Path) -> None:
    (folder / "nvidia-smi").write_bytes(b"\x7fELF of another machine")
    (folder / "nvidia-smi").chmod(0o755)
    assert read_gpu_memory() == []


def test_a_program_that_hangs_is_given_up(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_TIMEOUT_S", 0.2)
    write_program(folder, "exec sleep 60")
    assert read_gpu_memory() == []
