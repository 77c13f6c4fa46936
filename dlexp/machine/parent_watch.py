"""`python -m dlexp.machine.parent_watch COMMAND ...`: a command that ends with its parent, children included.

A process that is killed cannot stop what it has started. So it starts this one instead, in a session of its own, and
holds the other end of its stdin: the kernel closes that however the process ends.
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
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: this returns when the other end is closed
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
