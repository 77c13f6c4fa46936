"""Processes that are forked from a server: their main script, their end, and what they print."""

import contextlib
import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

import pytest

from dlexp.machine.forking import describe_exit, hidden_main
from tests.support.waiting import is_alive, wait_for

# The main script is not run again.

SCRIPT = """
import multiprocessing, sys
from dlexp.machine.forking import hidden_main

print("the script runs", flush=True)
context = multiprocessing.get_context("forkserver")
with hidden_main():
    process = context.Process(target=print, args=("the child runs",))
    process.start()
process.join()
print(process.exitcode, __file__ is not None)
"""


def test_script_without_a_guard_is_not_run_by_the_processes_that_it_starts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["the script runs", "the child runs", "0 True"], done.stderr


def test_main_module_is_as_it_was_after_the_block_also_after_an_error() -> None:
    main = sys.modules["__main__"]
    before = {name: vars(main).get(name, "none") for name in ("__file__", "__spec__")}
    with contextlib.suppress(OSError), hidden_main():
        assert not hasattr(main, "__file__")
        assert main.__spec__ is None
        raise OSError("no process could be started")
    assert {name: vars(main).get(name, "none") for name in before} == before


# The kernel ends a group with its parent.


def test_group_of_a_process_ends_when_its_parent_is_killed() -> None:
    command = [sys.executable, "-m", "tests.support.forked", "wait_with_a_child"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        assert all(map(is_alive, pids))
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, pids)))


# What a process prints goes to a file, line by line. pytest replaces stdout, so every test has a process.

START = """
import os, subprocess, sys
from dlexp.machine.forking import printing_to

path = sys.argv[1]
"""


def run(code: str, path: pathlib.Path | str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", START + code, str(path)], capture_output=True, text=True, check=False)


def test_everything_printed_is_appended_to_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n", encoding="utf-8")
    done = run(
        "print('on the terminal')\n"
        "with printing_to(path):\n"
        "    print('of Python')\n"
        "    print('of stderr', file=sys.stderr)\n"
        "    os.write(1, b'of C\\n')\n"
        "    subprocess.run(['echo', 'of a child'], check=True)\n"
        "print('again on the terminal')\n",
        path,
    )
    assert (done.stdout, done.stderr) == ("on the terminal\nagain on the terminal\n", "")
    assert path.read_text().splitlines() == ["before", "of Python", "of stderr", "of C", "of a child"]


def test_output_returns_to_the_terminal_after_an_error(tmp_path: pathlib.Path) -> None:
    done = run(
        "try:\n"
        "    with printing_to(path):\n"
        "        print('in the file')\n"
        "        raise OSError\n"
        "except OSError:\n"
        "    print('on the terminal')\n",
        tmp_path / "log",
    )
    assert done.stdout == "on the terminal\n"
    assert (tmp_path / "log").read_text() == "in the file\n"


def test_no_path_means_that_nothing_is_kept() -> None:
    assert run("with printing_to(path):\n    print('lost')\nprint('shown')\n", "").stdout == "shown\n"


def test_descriptors_are_not_used_up(tmp_path: pathlib.Path) -> None:
    done = run(
        "before = os.listdir('/proc/self/fd')\n"
        "for _ in range(20):\n"
        "    with printing_to(path):\n"
        "        pass\n"
        "print(len(os.listdir('/proc/self/fd')) - len(before))\n",
        tmp_path / "log",
    )
    assert done.stdout == "0\n"


def test_last_line_before_a_process_dies_is_in_the_file(tmp_path: pathlib.Path) -> None:
    done = run("with printing_to(path):\n    print('the last words')\n    os.abort()\n", tmp_path / "log")
    assert done.returncode == -signal.SIGABRT
    assert (tmp_path / "log").read_text() == "the last words\n"


@pytest.mark.parametrize(
    ("code", "clause"),
    [
        (None, "closed its pipe and kept running"),
        (-9, "was ended by SIGKILL"),
        (-6, "was ended by SIGABRT"),
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
    ],
)
def test_end_of_a_process_is_described_as_a_clause(code: Any, clause: str) -> None:
    assert describe_exit(code) == clause
