"""Files that are read once and remembered."""

import os
import pathlib
import shutil
from typing import Any

import pytest

from dlexp.datasets.images import file_facts, scan
from dlexp.datasets.images.scan import scan_files
from tests.support.image_folders import write_digits_folder


@pytest.fixture
def root(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Forty old files, and nothing remembered."""
    monkeypatch.setenv("DLEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scan, "_SETTLED_NS", 0)
    return str(write_digits_folder(tmp_path / "photos", 40))


def files_of(root: str) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in pathlib.Path(root).rglob("*.png"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    original = file_facts.scan_file

    def note(path: str) -> Any:
        names.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(file_facts, "scan_file", note)
    return names


def test_second_scan_reads_no_file_and_says_the_same(root: str, reads: list[str]) -> None:
    first = scan_files(root, files_of(root))
    assert len(reads) == 40
    assert scan_files(root, files_of(root)).equals(first)
    assert len(reads) == 40


def test_only_what_was_changed_or_added_is_read_again(root: str, reads: list[str]) -> None:
    before = scan_files(root, files_of(root))
    reads.clear()
    changed, added = files_of(root)[3], "0/added.png"
    shutil.copy(os.path.join(root, files_of(root)[7]), os.path.join(root, changed))
    shutil.copy(os.path.join(root, changed), os.path.join(root, added))
    after = scan_files(root, files_of(root))
    assert sorted(reads) == sorted(map(os.path.basename, (changed, added)))
    assert after["digest"][files_of(root).index(changed)] == before["digest"][7]


def test_file_that_was_replaced_with_its_old_time_is_read_again(root: str, reads: list[str]) -> None:
    scan_files(root, files_of(root))
    reads.clear()
    path = os.path.join(root, files_of(root)[0])
    status, contents = os.stat(path), pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(contents[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    scan_files(root, files_of(root))
    assert reads == [os.path.basename(path)]


def test_files_that_were_written_just_now_are_not_remembered(
    root: str, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_SETTLED_NS", 10**12)
    scan_files(root, files_of(root))
    scan_files(root, files_of(root))
    assert len(reads) == 80


def test_every_byte_is_read_where_nothing_is_to_be_believed(root: str, reads: list[str]) -> None:
    scan_files(root, files_of(root))
    scan_files(root, files_of(root), reread=True)
    assert len(reads) == 80


def test_damaged_and_missing_files_are_told_with_the_reason(root: str) -> None:
    files = [*files_of(root)[:2], "0/missing.png"]
    pathlib.Path(root, files[1]).write_bytes(b"")
    scanned = scan_files(root, files)
    assert scanned["damage"].tolist() == ["", "it has zero bytes", "No such file or directory"]


@pytest.mark.parametrize("contents", [b"", b"garbage", b"PAR1"])
def test_memory_that_is_damaged_is_made_again(root: str, reads: list[str], contents: bytes) -> None:
    first = scan_files(root, files_of(root))
    scan._cache_path(root).write_bytes(contents)
    assert scan_files(root, files_of(root)).equals(first)
    assert len(reads) == 80


def test_cache_folder_that_cannot_be_written_does_not_matter(
    root: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLEXP_CACHE", "/proc/cache")
    assert len(scan_files(root, files_of(root))) == 40
