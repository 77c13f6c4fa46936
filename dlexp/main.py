"""The main entry: flags in, one experiment, the result table out. `python -m dlexp.main` is `dlexp train`."""

import logging
import os
import sys
from collections.abc import Sequence

from absl import flags

from dlexp.checks import check_names
from dlexp.console import HELP_WORDS, is_debug, report_errors
from dlexp.flags import config_from_flags, define_experiment_flags, experiment_help, parse_flags


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
    flags.DEFINE_boolean("debug", False, "Shows the traceback of an error.", flag_values=values)
    parse_flags(values, argv)
    config = config_from_flags(values)
    quiet_tensorflow()

    # TensorFlow is imported only now, when all that can be checked without it has been.
    from dlexp.runs import check_store

    check_names(config)
    check_store(config.tracking.store)
    from dlexp.experiment import run_experiment
    from dlexp.summary import print_summary

    print_summary(run_experiment(config), store=config.tracking.store)
    return 0


def quiet_tensorflow() -> None:
    """Keeps TensorFlow's notices of missing GPUs off the terminal, unless asked for; before it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING)


def main() -> None:
    """Entry point of `python -m dlexp.main`."""
    argv = ["python -m dlexp.main", *sys.argv[1:]]
    sys.exit(report_errors(lambda: train(argv), debug=is_debug(argv)))


if __name__ == "__main__":
    main()
