"""The main entry: flags in, one experiment, the result table out. `python -m dlexp.main` is `dlexp train`."""

import sys
from typing import TYPE_CHECKING

from dlexp.config.command import Command, CommandLine
from dlexp.config.early_flags import is_debug
from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.presets import preset_names
from dlexp.machine.console import leave, note, report_errors, silence_pillow
from dlexp.machine.startup import importing_tensorflow
from dlexp.registry import TRACKERS, registered_names
from dlexp.runs.preflight import check_names
from dlexp.tracking.variables import set_variables

if TYPE_CHECKING:
    from dlexp.runs.result import ExperimentResult
    from dlexp.runs.resuming import ResumePlan


def train(line: CommandLine) -> int:
    """Runs `dlexp train`.

    Returns:
        Exit code 0; errors are raised.
    """
    from dlexp.runs.recipe import resolve_recipe
    from dlexp.runs.resuming import find_resumed, plan_resume
    from dlexp.runs.summary import print_summary

    config = resolve_recipe(line.config)
    run = find_resumed(line.options["resume"], config)
    result = (
        _start(config)
        if run is None
        else _resume(plan_resume(run, line.given_fields(config), extend_schedule=line.options["extend_schedule"]))
    )
    print_summary(result, store=config.tracking.store)
    return 0


def _start(config: ExperimentConfig) -> "ExperimentResult":
    from dlexp.runs.batch_sizes import check_batch_size
    from dlexp.runs.preflight import check_store

    # The checks come first, because they do not need TensorFlow; a plug-in that `check_names` loads may import it.
    with importing_tensorflow():
        check_names(config)
        check_store(config.tracking.store)
        config = _with_batch_size(config)
        check_batch_size(config)
        from dlexp.experiment import run_experiment

        TRACKERS.import_builtin()

    return run_experiment(config)


def _with_batch_size(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config with numbers in place of `auto`."""
    if not config.data.has_auto_size:
        return config
    from dlexp.memory.choice import keep_or_choose

    return config.replace(**keep_or_choose([config], config.tracking, report=note))


def _resume(plan: "ResumePlan") -> "ExperimentResult":
    from dlexp.runs.result import read_result

    if plan.is_finished:
        print(f"dlexp: run {plan.run.id[:8]} is finished already: raise --epochs to continue it", file=sys.stderr)
        return read_result(plan.run)
    with importing_tensorflow():
        from dlexp.experiment import resume_run

        TRACKERS.import_builtin()

    return resume_run(plan)


COMMAND = Command(
    run=train,
    example="--dataset=digits --model=small_cnn --epochs=5",
    description="Keeps the best and the last checkpoint, evaluates the best on the test split, and logs everything.",
    flags={
        "resume": (
            "",
            "Resume a run that was stopped or killed, from its newest checkpoint and with its own flags. Give a run ID "
            "or the start of one, a name, a folder, or latest; auto resumes the unfinished run with the flags given "
            "here, or starts a new run if there is none. --epochs may be raised, and flags that do not change the "
            "result, such as --num_workers, may differ.",
        ),
        "extend_schedule": (
            False,
            "With --resume, allow a larger --epochs under an --lr_schedule that ends: the old schedule holds up to the "
            "old number of epochs, which --extended_from records.",
        ),
    },
    config_flags=config_fields(),
    known_names=lambda: {"presets, found from any folder": preset_names(), **registered_names()},
)


def main() -> None:
    """Entry point of `python -m dlexp.main`."""
    set_variables()
    silence_pillow()
    argv = ["python -m dlexp.main", *sys.argv[1:]]
    leave(report_errors(lambda: COMMAND.call(argv), debug=is_debug(argv)))


if __name__ == "__main__":
    main()
