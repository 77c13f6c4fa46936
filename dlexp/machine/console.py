"""How a command ends: exit codes, and errors in one sentence on stderr."""

import gc
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from dlexp.errors import DlexpError

EXIT_FAILED = 1


def is_debug(words: Sequence[str]) -> bool:
    """Whether a command line asks for tracebacks."""
    return any(word in ("--debug", "--debug=true") for word in words)


def report_errors(command: Callable[[], int], *, debug: bool) -> int:
    """Runs a command; prints an error in one sentence to stderr and returns its exit code.

    Args:
        command: does the work and returns an exit code.
        debug: raise errors with their traceback instead.
    """
    try:
        return command()
    except KeyboardInterrupt:
        print("dlexp: stopped by Ctrl-C", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of a pipe (`dlexp runs | head`) has left. Closing stderr keeps Python's shutdown from complaining.
        sys.stderr.close()
        return 0
    except Exception as err:
        if debug:
            raise
        return _tell_error(err)


def leave(exit_code: int) -> NoReturn:
    """Ends the process.

    Python's last garbage collection would walk through all that TensorFlow has made, for nothing and for 1.8 s; what is
    frozen it passes over. Exit handlers and finalizers run as ever.
    """
    gc.freeze()
    sys.exit(exit_code)


def _tell_error(err: Exception) -> int:
    if isinstance(err, DlexpError):
        print(f"dlexp: {err}", file=sys.stderr)
        return err.exit_code
    where = traceback.extract_tb(err.__traceback__)[-1]
    print(
        f"dlexp: {type(err).__name__}: {err} (in {where.name}, {where.filename}:{where.lineno}); "
        "run it again with --debug for the whole traceback",
        file=sys.stderr,
    )
    return EXIT_FAILED
