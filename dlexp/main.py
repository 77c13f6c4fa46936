"""The main entry: flags in, one experiment, the result table out. `python -m dlexp.main` is `dlexp train`."""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.config.flags import config_from_flags, define_experiment_flags, define_flags, given_fields, parse_flags
from dlexp.config.help import HELP_WORDS, RESUME_HELP, experiment_help
from dlexp.machine.console import is_debug, leave, report_errors
from dlexp.machine.startup import importing_tensorflow
from dlexp.registry import TRACKERS, registered_names
from dlexp.runs.preflight import check_names

if TYPE_CHECKING:
    from dlexp.runs.result import ExperimentResult
    from dlexp.runs.run import Run


def train(argv: Sequence[str]) -> int:
    """Runs `dlexp train`.

    Args:
        argv: how the command is called, then its flags.

    Returns:
        Exit code 0; errors are raised.
    """
    if any(word in HELP_WORDS for word in argv[1:]):
        print(experiment_help(argv[0], registered_names()))
        return 0
    values = flags.FlagValues()
    define_experiment_flags(values)
    define_flags(values, {"resume": ("", RESUME_HELP)})
    parse_flags(values, argv)
    from dlexp.runs.recipe import resolve_recipe
    from dlexp.runs.resuming import find_resumed
    from dlexp.runs.summary import print_summary

    logging.basicConfig(format="dlexp: %(message)s", level=logging.WARNING)
    config = resolve_recipe(config_from_flags(values))
    run = find_resumed(values["resume"].value, config)
    result = _start(config) if run is None else _resume(run, given_fields(values, config))
    print_summary(result, store=config.tracking.store)
    return 0


def _start(config: ExperimentConfig) -> "ExperimentResult":
    from dlexp.runs.preflight import check_store

    # Only now is TensorFlow imported, when all that can be checked without it has been; a plug-in may import it too.
    with importing_tensorflow():
        check_names(config)
        check_store(config.tracking.store)
        from dlexp.experiment import run_experiment

        TRACKERS.import_builtin()

    return run_experiment(config)


def _resume(run: "Run", given: Mapping[str, Any]) -> "ExperimentResult":
    from dlexp.runs.result import read_result
    from dlexp.runs.resuming import is_finished, resumed_config

    if is_finished(run, resumed_config(run, given)):
        print(f"dlexp: run {run.id[:8]} is finished already; more --epochs would go on with it", file=sys.stderr)
        return read_result(run)
    with importing_tensorflow():
        from dlexp.experiment import resume_experiment

        TRACKERS.import_builtin()

    return resume_experiment(run.path, **given)


def main() -> None:
    """Entry point of `python -m dlexp.main`."""
    argv = ["python -m dlexp.main", *sys.argv[1:]]
    leave(report_errors(lambda: train(argv), debug=is_debug(argv)))


if __name__ == "__main__":
    main()
