"""Types the commands of a page as a reader would.

A `dlexp` command and a Python block are forked from this process, which has imported TensorFlow but not used it: each
gets its own process, and none waits for the imports. All other commands are run by bash.
"""

import multiprocessing
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import dlexp.sweeps.trial  # noqa: F401
from dlexp.commands.cli import main
from tests.docs.pages import Block
from tests.support.ports import free_port

STOPPED = 75
_TIMEOUT_S = 300
_FORK = multiprocessing.get_context("fork")
_QUOTED = re.compile(r"'[^']*'|\"[^\"$`]*\"")
_SHELL = re.compile(r"[|<>$;&`]")  # what bash has to do for a command, if it is not quoted
_EXIT_CODE = re.compile(r"# .*\bexits with (\d+)")
_CTRL_C = re.compile(r"# .*\bpress Ctrl-C")


@dataclass(frozen=True)
class Ended:
    """What a command has printed, to stdout and stderr, and its exit code."""

    output: str
    code: int


class Reader:
    """Works in one folder, as a reader of one page does.

    Args:
        folder: the working directory, which holds the data of the page.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._bin = folder.parent / "bin"
        self._bin.mkdir()
        command = self._bin / "dlexp"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m dlexp.commands.cli "$@"\n')
        command.chmod(0o755)

    def run(self, block: Block) -> str:
        """Runs a block of bash or Python, or saves it, and returns all that it has printed.

        Raises:
            AssertionError: a command has ended otherwise than the page says.
        """
        if block.language == "python":
            return self._run_python(block)
        outputs = []
        for command in block.commands():
            ended = self._run_command(command)
            expected = _expected_code(command)
            assert ended.code == expected, f"{block.where}: {command}\nexits with {ended.code}:\n{ended.output}"
            outputs.append(ended.output)
        return "".join(outputs)

    def _run_python(self, block: Block) -> str:
        if name := block.file_name():
            (self._folder / name).write_text(block.text, encoding="utf-8")
            return ""
        code = compile(block.text, block.where, "exec")
        ended = self._fork(lambda: exec(code, {"__name__": "__main__"}))
        assert ended.code == 0, f"{block.where}: the Python block fails:\n{ended.output}"
        return ended.output

    def _run_command(self, command: str) -> Ended:
        typed = command.replace("\\\n", " ")
        words = shlex.split(typed, comments=True)
        if words[:2] == ["dlexp", "ui"]:
            return self._open_ui(words)
        if words[0] != "dlexp" or _SHELL.search(_QUOTED.sub("", typed)):
            return self._run_shell(command)
        stop = self._interrupt_after_a_checkpoint if _CTRL_C.search(typed) else None
        return self._fork(lambda: main(words), while_running=stop)

    def _run_shell(self, command: str) -> Ended:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self._folder,
            env={**os.environ, "PATH": f"{self._bin}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return Ended(done.stdout, done.returncode)

    def _fork(
        self, act: Callable[[], int | None], *, while_running: Callable[[BaseProcess], None] | None = None
    ) -> Ended:
        output = self._folder.parent / "output.txt"
        process = _FORK.Process(target=_act_apart, args=(act, self._folder, output))
        process.start()
        if while_running is not None:
            while_running(process)
        process.join(_TIMEOUT_S)
        if process.exitcode is None:
            process.kill()
        return Ended(output.read_text(encoding="utf-8"), process.exitcode if process.exitcode is not None else -1)

    def _interrupt_after_a_checkpoint(self, process: BaseProcess) -> None:
        started = time.time()
        while process.is_alive():
            found = self._folder.glob("mlruns/artifacts/*/artifacts/checkpoints/*__last__*.keras")
            if any(path.stat().st_mtime > started for path in found):
                os.kill(process.pid or 0, signal.SIGINT)
                return
            time.sleep(0.02)

    def _open_ui(self, words: list[str]) -> Ended:
        """Opens the page that the server names, and stops the server."""
        server = subprocess.Popen(
            [str(self._bin / "dlexp"), *words[1:], f"--port={free_port()}"],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            with urllib.request.urlopen(url, timeout=60) as answer:
                status = answer.status
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
        return Ended(f"{url}\n", server.returncode if status == 200 else 1)


def _expected_code(command: str) -> int:
    if _CTRL_C.search(command):
        return STOPPED
    stated = _EXIT_CODE.search(command)
    return int(stated[1]) if stated else 0


def _act_apart(act: Callable[[], int | None], folder: pathlib.Path, output: pathlib.Path) -> None:
    """Runs in the forked process."""
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    sys.path.insert(0, str(folder))  # as Python does for a script
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(act() or 0)
