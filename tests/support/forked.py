"""What processes do that tests fork from a server, in a program of their own: `python -m tests.support.forked NAME`."""

import json
import multiprocessing
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import psutil

from dlexp.machine.forking import end_with_parent, hidden_main
from dlexp.machine.resident_files import load_noted_files

PRELOADED = "tests.support.forked_preload"


def resident_file_bytes() -> int:
    """Memory of this process that holds pages of files."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssFile:"))


def report_files(connection: Connection) -> None:
    """Sends the memory that holds pages of files, before and after the noted ones are loaded."""
    before = resident_file_bytes()
    load_noted_files()
    connection.send_bytes(json.dumps([before, resident_file_bytes()]).encode())


def wait_with_a_child(connection: Connection) -> None:
    """Leads a group, starts a process in it, sends the IDs of both, and sleeps."""
    os.setsid()
    end_with_parent()
    child = psutil.Popen(["sleep", "1000"])
    connection.send_bytes(json.dumps([os.getpid(), child.pid]).encode())
    time.sleep(1000)


def main() -> None:
    """Forks one process, prints what it sends as JSON, and then waits for the end of stdin."""
    work: Any = globals()[sys.argv[1]]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    ours, theirs = context.Pipe()
    with hidden_main():
        context.Process(target=work, args=(theirs,), daemon=True).start()
    theirs.close()
    print(ours.recv_bytes().decode(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    from tests.support import forked

    forked.main()
