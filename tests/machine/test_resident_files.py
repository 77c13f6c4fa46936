"""The file pages of a forked process: as many as a process has that has imported the same modules itself."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from dlexp.machine import resident_files as module
from dlexp.machine.resident_files import load_noted_files, note_resident_files

IMPORTS = """
import tests.support.forked_preload
from tests.support.forked import resident_file_bytes
print(resident_file_bytes())
"""


def run(*words: str) -> str:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True, input="").stdout


def test_forked_process_gets_the_file_pages_of_one_that_has_imported_the_same_itself() -> None:
    before, after = json.loads(run("-m", "tests.support.forked", "report_files"))
    itself = int(run("-c", IMPORTS))
    assert after == pytest.approx(itself, rel=0.05)
    assert before < 0.9 * itself


def test_ranges_are_within_the_mappings_of_files() -> None:
    ranges = module._resident_ranges()
    mappings = list(module._file_mappings())
    assert ranges != []
    for start, size in ranges:
        assert size > 0
        assert any(first <= start and start + size <= end for first, end in mappings)


def test_loading_changes_nothing_in_the_process_that_has_noted() -> None:
    kept = np.arange(1000)
    note_resident_files()
    load_noted_files()
    assert (kept == np.arange(1000)).all()
    module._noted.clear()


def test_system_without_page_tables_notes_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGEMAP", tmp_path / "missing")
    note_resident_files()
    assert module._noted == []
    load_noted_files()


def test_mappings_without_a_file_are_left_out(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        "1000-3000 r-xp 00000000 08:01 12 /usr/lib/a b.so\n"
        "4000-5000 rw-p 00000000 00:00 0 \n"
        "6000-7000 rw-p 00000000 00:00 0 [heap]\n"
        "8000-9000 r--p 00000000 08:01 13 /usr/lib/c.so (deleted)\n"
    )
    (tmp_path / "maps").write_text(text, encoding="utf-8")
    monkeypatch.setattr(module, "_MAPS", tmp_path / "maps")
    assert list(module._file_mappings()) == [(0x1000, 0x3000), (0x8000, 0x9000)]
