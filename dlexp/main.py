"""The main entry: flags in, one experiment, the result table out. `python -m dlexp.main` is `dlexp train`."""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from dlexp.allocator import keep_freed_memory
from dlexp.checks import check_names
from dlexp.config import ExperimentConfig
from dlexp.console import HELP_WORDS, is_debug, leave, report_errors
from dlexp.flags import (
    RESUME_HELP,
    config_from_flags,
    define_experiment_flags,
    define_flags,
    experiment_help,
    parse_flags,
)

if TYPE_CHECKING:
    from dlexp.result import ExperimentResult
    from dlexp.runs import Run

_NOTICE = re.compile(rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} ")


def train(argv: Sequence[str]) -> int:
    """Runs `dlexp train`.

    Args:
        argv: how the command is called, then its flags.

    Returns:
        Exit code 0; errors are raised.
    """
    if any(word in HELP_WORDS for word in argv[1:]):
        print(experiment_help(argv[0]))
        return 0
    values = flags.FlagValues()
    define_experiment_flags(values)
    define_flags(values, {"resume": ("", RESUME_HELP)})
    parse_flags(values, argv)
    from dlexp.recipe import resolve_recipe
    from dlexp.resuming import find_resumed
    from dlexp.summary import print_summary

    logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING)
    config = resolve_recipe(config_from_flags(values))
    run = find_resumed(values["resume"].value, config)
    if run is None:
        result = _start(config)
    else:
        given = {name: value for name, value in config.flat().items() if values[name].present and name != "store"}
        result = _resume(run, given)
    print_summary(result, store=config.tracking.store)
    return 0


def _start(config: ExperimentConfig) -> "ExperimentResult":
    from dlexp.runs import check_store

    # Only now is TensorFlow imported, when all that can be checked without it has been; a plug-in may import it too.
    with importing_tensorflow():
        check_names(config)
        check_store(config.tracking.store)
        from dlexp.experiment import run_experiment

    return run_experiment(config)


def _resume(run: "Run", given: Mapping[str, Any]) -> "ExperimentResult":
    from dlexp.result import read_result
    from dlexp.resuming import is_finished, resumed_config

    if is_finished(run, resumed_config(run, given)):
        print(f"dlexp: run {run.id[:8]} is finished already; more --epochs would go on with it", file=sys.stderr)
        return read_result(run)
    with importing_tensorflow():
        from dlexp.experiment import resume_experiment

    return resume_experiment(run.path, **given)


@contextlib.contextmanager
def importing_tensorflow() -> Iterator[None]:
    """Makes a process of ours ready for TensorFlow, which is imported within the block: how every command does it.

    The notices that TensorFlow writes meanwhile are kept off stderr; whatever else is written there stays.
    TF_CPP_MIN_LOG_LEVEL does not reach those that come before its logging is set up.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            sys.stderr.writelines(line.decode(errors="replace") for line in held if not _NOTICE.match(line))


def main() -> None:
    """Entry point of `python -m dlexp.main`."""
    argv = ["python -m dlexp.main", *sys.argv[1:]]
    leave(report_errors(lambda: train(argv), debug=is_debug(argv)))


if __name__ == "__main__":
    main()
