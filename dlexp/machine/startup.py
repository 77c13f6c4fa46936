"""Makes a process ready for TensorFlow, before it is imported and before it has started anything."""

import contextlib
import ctypes
import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Numbers of `mallopt` (man 3 mallopt) and what they are set to, in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_SETTINGS = {_TRIM_THRESHOLD: 1 << 30, _TOP_PAD: 64 << 20, _MMAP_THRESHOLD: 32 << 20}

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


def keep_freed_memory() -> None:
    """Tells glibc to keep up to 1 GiB of freed memory in each of its heaps; with another C library nothing changes.

    A step allocates and frees the same large buffers again and again. By default glibc gives them back each time, and
    the kernel then clears every page anew: on images of 224x224 that was a third of a MobileNet's processor time.
    What users set in MALLOC_* variables or by another allocator is overruled or ignored.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for setting, value in _SETTINGS.items():
            library.mallopt(setting, value)
