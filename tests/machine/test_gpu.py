"""The GPUs that the driver lists: programs that stand for nvidia-smi, and how each may fail."""

import pathlib
import sys

import pytest

from dlexp.machine import gpu as module
from dlexp.machine.gpu import Gpu, list_gpus

MIB = 2**20


def put_on_path(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Makes a program of this name, which is the only one on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\n{code}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def listed(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[Gpu]:
    put_on_path(folder, monkeypatch, f"print({text!r})")
    return list_gpus()


def test_gpus_are_listed_with_their_memory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "NVIDIA A100-SXM4-40GB, 40960, 40000\nNVIDIA T4, 15360, 12\n"
    assert listed(tmp_path, monkeypatch, text) == [
        Gpu(name="NVIDIA A100-SXM4-40GB", total_bytes=40960 * MIB, free_bytes=40000 * MIB),
        Gpu(name="NVIDIA T4", total_bytes=15360 * MIB, free_bytes=12 * MIB),
    ]


def test_driver_is_asked_for_numbers_without_units(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(
        tmp_path,
        monkeypatch,
        "import sys\n"
        "assert sys.argv[1:] == ['--query-gpu=name,memory.total,memory.free', '--format=csv,noheader,nounits']\n"
        "print('A, 1, 1')",
    )
    assert len(list_gpus()) == 1


def test_comma_in_a_name_is_part_of_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (gpu,) = listed(tmp_path, monkeypatch, "Quadro, special edition, 8, 7")
    assert gpu == Gpu(name="Quadro, special edition", total_bytes=8 * MIB, free_bytes=7 * MIB)


def test_no_program_means_no_gpu(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_gpus() == []


@pytest.mark.parametrize(
    "text",
    [
        "", "\n\n", "No devices were found", "A100, [N/A], [N/A]", "A100, 40960 MiB, 40000 MiB", "A100, 40960",
        "A100, -1, 0", "A, 1, 1\nB, [Insufficient Permissions], 1",
    ],
)  # fmt: skip
def test_odd_answer_means_no_gpu(text: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(tmp_path, monkeypatch, text) == []


@pytest.mark.parametrize(
    "code",
    [
        "import sys; print('A, 1, 1'); sys.exit(9)",
        "import os; os.abort()",
        "import sys; sys.stdout.buffer.write(bytes([255, 254, 10]))",
    ],
    ids=["fails", "dies", "prints no text"],
)
def test_program_that_fails_means_no_gpu(code: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, code)
    assert list_gpus() == []


def test_program_that_hangs_is_given_up(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    put_on_path(tmp_path, monkeypatch, "import time; time.sleep(1000)")
    assert list_gpus() == []


def test_program_that_cannot_be_run_means_no_gpu(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_path(tmp_path, monkeypatch, "")
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF, but not really")
    assert list_gpus() == []
