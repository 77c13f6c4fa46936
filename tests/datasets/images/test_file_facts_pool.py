"""Image files that are read by threads and by processes."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator

import hypothesis
import hypothesis.strategies as st
import pytest

from dlexp.datasets.images import file_facts, file_facts_pool
from dlexp.datasets.images.file_facts_pool import read_files
from dlexp.errors import DataError
from tests.support.image_folders import write_digits_folder
from tests.support.waiting import wait_for

_READ_FOR_LONG = """
import sys
from dlexp.datasets.images import file_facts_pool
reading = file_facts_pool._read_in_processes(sys.argv[1:] * 10_000)
next(reading)
print("reading", flush=True)
list(reading)
"""


class FakeTime:
    """The clocks of the module `time`, for which each file takes equally long."""

    def __init__(self, *, seconds: float, cpu_seconds: float) -> None:
        self.monotonic = itertools.count(0.0, seconds).__next__
        self.thread_time = itertools.count(0.0, cpu_seconds).__next__


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ninety files: sound, damaged, unreadable, oddly named."""
    root = write_digits_folder(tmp_path_factory.mktemp("photos"), 40)
    write_digits_folder(root, 20, ending=".jpg")
    write_digits_folder(root, 20, ending=".webp")
    sound = sorted(root.rglob("*.*"))
    contents = sound[0].read_bytes()
    for name in (
        "new\nline.png",
        "carriage\r.png",
        'quote".png',
        "back\\slash.png",
        "ünï 漢字 🙂.png",
        "line\u2028.png",
    ):
        (root / name).write_bytes(contents)
    (root / "empty.png").write_bytes(b"")
    (root / "cut off.png").write_bytes(contents[:-20])
    (root / "text.jpg").write_bytes("日本語".encode())
    (root / "folder.png").mkdir()
    return [*map(str, sorted(root.rglob("*.*"))), str(root / "missing.png"), str(root / "0")]


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Those that are started to read files, however few files there are and however slow the disk."""
    monkeypatch.setattr(file_facts_pool, "_MANY_FILES", 1)
    monkeypatch.setattr(file_facts_pool, "_FIRST_FILES", 7)
    monkeypatch.setattr(file_facts_pool, "_CHUNK_FILES", 7)
    monkeypatch.setattr(file_facts_pool, "_WAITING", float("inf"))
    started: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def start(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        started.append(original(*args, **kwargs))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    yield started
    assert all(process.returncode is not None for process in started)


def test_processes_say_the_same_as_threads(paths: list[str], processes: list[subprocess.Popen[bytes]]) -> None:
    by_processes = list(read_files(paths))
    assert len(processes) == len(os.sched_getaffinity(0))
    assert by_processes == [file_facts.scan_file(path) for path in paths]
    assert {"", "it has zero bytes", "Is a directory", "No such file or directory"} < {
        process[-1] for process in by_processes
    }


@hypothesis.given(numbers=st.lists(st.integers(0, 79), max_size=60), chunk=st.integers(1, 20))
@hypothesis.settings(max_examples=10, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_processes_keep_the_order(
    paths: list[str], processes: list[subprocess.Popen[bytes]], numbers: list[int], chunk: int
) -> None:
    file_facts_pool._FIRST_FILES = file_facts_pool._CHUNK_FILES = chunk  # the fixture restores them
    chosen = [paths[number] for number in numbers]
    assert list(read_files(chosen)) == [file_facts.scan_file(path) for path in chosen]


def test_few_files_start_no_process(paths: list[str], processes: list[subprocess.Popen[bytes]]) -> None:
    file_facts_pool._MANY_FILES = len(paths) + 1
    assert len(list(read_files(paths))) == len(paths)
    assert processes == []


def test_files_that_are_waited_for_are_read_by_threads(
    paths: list[str], processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts_pool, "_WAITING", 3)
    monkeypatch.setattr(file_facts_pool, "time", FakeTime(seconds=0.04, cpu_seconds=0.01))
    assert list(read_files(paths)) == [file_facts.scan_file(path) for path in paths]
    assert processes == []


def test_files_that_keep_the_processor_busy_are_read_by_processes(
    paths: list[str], processes: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_facts_pool, "_WAITING", 3)
    monkeypatch.setattr(file_facts_pool, "time", FakeTime(seconds=0.02, cpu_seconds=0.01))
    assert list(read_files(paths)) == [file_facts.scan_file(path) for path in paths]
    assert processes


def test_process_that_dies_is_told_with_what_to_do(paths: list[str], processes: list[subprocess.Popen[bytes]]) -> None:
    reading = read_files(paths * 50)
    for _ in range(20):
        next(reading)
    for process in processes:
        process.kill()
    with pytest.raises(DataError, match=r"ended with exit code -9 while it read 7 files, .*start the command again"):
        list(reading)


def test_processes_end_when_reading_is_given_up(paths: list[str], processes: list[subprocess.Popen[bytes]]) -> None:
    reading = read_files(paths)
    for _ in range(20):
        next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert processes
    assert all(process.returncode is not None for process in processes)


def test_processes_end_when_whoever_started_them_is_killed(paths: list[str]) -> None:
    command = [sys.executable, "-c", _READ_FOR_LONG, *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        parent.send_signal(signal.SIGKILL)
    assert len(children) == len(os.sched_getaffinity(0))
    wait_for(lambda: not any(_is_alive(child) for child in children))


def test_a_process_that_reads_starts_without_what_is_heavy() -> None:
    code = "import sys, dlexp.datasets.images.file_facts; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"numpy", "pandas", "tensorflow", "logging"}.isdisjoint(loaded)


def _is_alive(process_id: str) -> bool:
    try:
        status = pathlib.Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # a zombie only waits to be noticed
