"""A process that is about to import TensorFlow: what is written to stderr meanwhile, garbage, and freed memory."""

import subprocess
import sys


def run(code: str) -> "subprocess.CompletedProcess[str]":
    lines = "import gc, os, sys\nfrom dlexp.machine.startup import importing_tensorflow\n" + code
    return subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)


def test_only_notices_of_tensorflow_are_kept_off_stderr() -> None:
    done = run(
        "with importing_tensorflow():\n"
        "    os.write(2, b'I0000 00:00:17 port.cc:153] oneDNN custom operations are on\\n')\n"
        "    print('a plug-in says this', file=sys.stderr)\n"
    )
    assert (done.returncode, done.stderr) == (0, "a plug-in says this\n")


def test_what_is_said_before_an_error_is_told_with_it() -> None:
    done = run("with importing_tensorflow():\n    print('first', file=sys.stderr)\n    raise OSError('then')\n")
    assert done.returncode == 1
    assert done.stderr.startswith("first\n")
    assert done.stderr.endswith("OSError: then\n")


def test_what_is_imported_is_no_business_of_the_garbage_collector() -> None:
    done = run(
        "with importing_tensorflow():\n"
        "    print(gc.isenabled())\n"
        "    kept = [[] for _ in range(1000)]\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 1000)\n"
    )
    assert done.stdout.split() == ["False", "True", "True"]


# Freed memory is kept: what is allocated again is not cleared by the kernel again.

COUNT_FAULTS = """
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
    command = [sys.executable, "-c", COUNT_FAULTS, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_buffers_that_are_allocated_again_cost_no_page_faults() -> None:
    assert faults("keep") < faults("default") / 10


# Threads share a heap: what one of them has freed, another one allocates.

ALLOCATE = """
import ctypes, sys, threading
from dlexp.machine import startup

startup.count_cores = lambda: int(sys.argv[1])
startup.keep_freed_memory()
malloc = ctypes.CDLL(None).malloc  # called without the lock of Python
malloc.restype = ctypes.c_void_p
together, addresses = threading.Barrier(8), []

def allocate():
    together.wait()
    addresses.append(malloc(ctypes.c_size_t(100_000)))
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(max(addresses) - min(addresses))
"""


HEAP_BYTES = 64 * 2**20


def distance(cores: int) -> int:
    """Bytes between the lowest and the highest of the addresses that eight threads get."""
    command = [sys.executable, "-c", ALLOCATE, str(cores)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_threads_share_a_heap_on_few_cores() -> None:
    assert distance(cores=4) < HEAP_BYTES / 2


def test_threads_have_several_heaps_on_many_cores() -> None:
    assert distance(cores=64) >= HEAP_BYTES / 2
