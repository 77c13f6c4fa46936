"""The peak memory of this process: what it counts, and that it can begin again."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dlexp.machine import memory
from dlexp.machine.memory import peak_memory_bytes, reset_peak_memory
from tests.support.allocation import take_and_give_back

SIZE = 64 * 2**20
SLACK = 8 * 2**20


def peak() -> int:
    measured = peak_memory_bytes()
    assert measured is not None
    return measured


def test_memory_that_is_freed_again_counts() -> None:
    assert reset_peak_memory()
    before = peak()
    take_and_give_back(SIZE)
    assert peak() - before == pytest.approx(SIZE, abs=SLACK)


def test_a_reset_forgets_what_is_freed() -> None:
    take_and_give_back(SIZE)
    before = peak()
    assert reset_peak_memory()
    assert before - peak() > SIZE / 2


def test_the_peak_of_the_parent_does_not_count() -> None:
    held = np.full(4 * SIZE, 1, dtype=np.uint8)
    code = "from dlexp.machine.memory import peak_memory_bytes; print(peak_memory_bytes())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) < held.size


@pytest.mark.parametrize("text", [None, "Name:\tpython\nVmRSS:\t1 kB\n"])
def test_a_system_that_reports_no_peak_gives_none(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    status = tmp_path / "self" / "status"
    status.parent.mkdir()
    if text is not None:
        status.write_text(text)
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    assert peak_memory_bytes() is None


def test_a_name_of_the_process_that_is_no_text_does_no_harm(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_bytes(b"Name:\t\xff\nVmHWM:\t     3 kB\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    assert peak_memory_bytes() == 3 * 1024


def test_a_system_that_allows_no_reset_is_reported(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "missing" / "clear_refs")
    assert not reset_peak_memory()
