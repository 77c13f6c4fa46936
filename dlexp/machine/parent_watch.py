"""`python -m dlexp.machine.parent_watch COMMAND ...`: runs a command, and kills it when its starter ends.

A killed process cannot stop the processes that it has started. So it starts this process instead, in a separate
session, and holds the write end of its stdin: the kernel closes that end when the starter ends, for any reason. Then
the command and all of its children are killed.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Runs the command of `sys.argv`, and returns its exit code."""
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    return process.wait()


def _end_with_starter() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: read returns when the other end is closed
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
