"""Makes a process ready for TensorFlow, before it is imported and before it has started anything."""

import contextlib
import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from dlexp.allocator import keep_freed_memory

_NOTICE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} ")


@contextlib.contextmanager
def importing_tensorflow() -> Iterator[None]:
    """Makes a process of ours ready for TensorFlow, which is imported within the block: how every command does it.

    The notices that TensorFlow writes meanwhile are kept off stderr; whatever else is written there stays.
    TF_CPP_MIN_LOG_LEVEL does not reach those that come before its logging is set up.

    What is imported stays, so the garbage collector does not look at it: not while it is imported, and not at every
    full collection afterwards, each of which would take 0.35 s.
    """
    keep_freed_memory()
    gc.disable()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            gc.freeze()
            gc.enable()
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            sys.stderr.writelines(line.decode(errors="replace") for line in held if not _NOTICE.match(line))
