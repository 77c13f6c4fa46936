"""A process that is about to import TensorFlow: what is written to stderr meanwhile, and the garbage collector."""

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
