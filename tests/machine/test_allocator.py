"""Freed memory is kept: what is allocated again is not cleared by the kernel again."""

import subprocess
import sys

_CODE = """
import resource, sys, threading
from dlexp.machine.startup import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def count_faults():
    first = None
    for _ in range(50):
        buffers = [bytes(8 << 20) for _ in range(3)]
        for buffer in buffers:
            hash(buffer)
        del buffers, buffer
        if first is None:
            first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first)

thread = threading.Thread(target=count_faults)  # TensorFlow allocates in threads, which have heaps of their own
thread.start()
thread.join()
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _CODE, how], capture_output=True, text=True, check=True).stdout)


def test_buffers_that_are_allocated_again_cost_no_page_faults() -> None:
    assert faults("keep") < faults("default") / 10
