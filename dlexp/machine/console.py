"""Ends a command: with an exit code, and with an error as one sentence on stderr."""

import gc
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn

from dlexp.errors import DlexpError

EXIT_FAILED = 1


def report_errors(command: Callable[[], int], *, debug: bool) -> int:
    """Runs a command; prints an error in one sentence to stderr and returns its exit code.

    Args:
        command: does the work and returns an exit code.
        debug: raise errors with their traceback instead of printing one sentence.
    """
    try:
        return command()
    except KeyboardInterrupt:
        print("dlexp: stopped by Ctrl-C", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of the pipe has ended (`dlexp runs | head`). Closing stderr avoids a warning as Python shuts down.
        sys.stderr.close()
        return 0
    except Exception as err:
        if debug:
            raise
        return _print_error(err)


def note(text: str) -> None:
    """Prints a line about the progress of a command to stderr; stdout holds results only."""
    print(f"dlexp: {text}\n", end="", file=sys.stderr, flush=True)  # one write, so that lines of threads stay whole


def silence_pillow() -> None:
    """Ignores warnings of Pillow in a process of dlexp's own: they name no file, and what matters is a finding."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def leave(exit_code: int) -> NoReturn:
    """Ends the process.

    Python's last garbage collection would visit every object of TensorFlow, which takes 1.8 s for nothing; it skips
    frozen objects. Exit handlers and finalizers run as usual.
    """
    gc.freeze()
    sys.exit(exit_code)


def _print_error(err: Exception) -> int:
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
