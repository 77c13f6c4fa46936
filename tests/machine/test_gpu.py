"""The memory of GPUs as NVIDIA's program prints it; a script stands for the program."""

import os
import pathlib

import pytest

from dlexp.machine import gpu
from dlexp.machine.gpu import read_gpu_memory

MIB = 2**20


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The first folder of PATH; the machine that runs the test may hide its GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return tmp_path


def write_program(folder: pathlib.Path, script: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


THREE_GPUS = """echo '0, GPU-aa11, 1000
1, GPU-bb22, 2000
2, GPU-bb33, [N/A]'
"""


def test_memory_of_each_gpu_is_read(folder: pathlib.Path) -> None:
    write_program(folder, f'echo "$@" > "$(dirname "$0")/asked"; {THREE_GPUS}')
    assert read_gpu_memory() == [1000 * MIB, 2000 * MIB, 0]
    asked = (folder / "asked").read_text().split()
    assert asked == ["--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]


@pytest.mark.parametrize(
    ("visible", "mebibytes"),
    [
        ("1", [2000]),
        ("1,0", [2000, 1000]),
        (" 1 , 0 ", [2000, 1000]),
        ("GPU-bb22", [2000]),
        ("GPU-aa,1", [1000, 2000]),
        ("2,1", [0, 2000]),
        ("0,-1,1", [1000]),
        ("0,7,1", [1000]),
        ("MIG-GPU-aa11/1/0,1", [0, 2000]),
        ("-1", []),
        ("", []),
    ],
)
def test_gpus_are_those_that_cuda_may_use_in_its_order(
    visible: str, mebibytes: list[int], folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_program(folder, THREE_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert read_gpu_memory() == [total * MIB for total in mebibytes]


@pytest.mark.parametrize("script", ["echo no driver; exit 9", "echo no, answer", "echo 5", ":"])
def test_a_program_that_lists_no_gpu_gives_none(script: str, folder: pathlib.Path) -> None:
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
