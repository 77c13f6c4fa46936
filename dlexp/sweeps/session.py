"""Runs a sweep in this process: checks its plan, drives its trials, and prints its result."""

import contextlib
import signal
import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from dlexp.config.spelling import store_option
from dlexp.errors import ConfigError, InterruptedRunError, TrainingError
from dlexp.machine.capacity import count_cores
from dlexp.machine.units import format_seconds
from dlexp.runs.preflight import check_names
from dlexp.runs.run import Status
from dlexp.sweeps.batch_size_check import check_batch_sizes
from dlexp.sweeps.display import build_display, print_status
from dlexp.sweeps.driver import SweepDriver, SweepLimits
from dlexp.sweeps.folder import (
    SweepFolder,
    TrialState,
    write_table,
)
from dlexp.sweeps.keeping import CheckpointKeeper
from dlexp.sweeps.launchers.base import Launcher
from dlexp.sweeps.plan import SweepPlan
from dlexp.sweeps.space.space import Space

RUNNER = "dlexp.sweeps.preload:TrialRunner"


def check_plan(plan: SweepPlan, given: Mapping[str, Any]) -> None:
    """Raises ConfigError before the first trial if the plan cannot work.

    Args:
        plan: the plan of the sweep.
        given: values of the flags of the command.
    """
    for config in plan.candidates.corner_configs():
        check_names(config)
    check_batch_sizes(plan)
    from dlexp.sweeps.objective_check import check_objectives  # imported here: --help needs no pandas

    check_objectives(plan)
    if plan.seeds < 1 or plan.num_points < 0:
        raise ConfigError(f"--seeds={plan.seeds} must be 1 or more, and --trials={plan.num_points} 0 or more")
    if plan.search != "grid":
        if not isinstance(plan.candidates, Space):
            raise ConfigError(f"--search={plan.search} needs a space to draw from; a --runs_file is run line by line")
        if not plan.num_points and not given["time_budget"]:
            raise ConfigError(f"--search={plan.search} never ends by itself: give --trials=N or --time_budget=2h")
    else:
        plan.candidates.grid_size() or next(plan.candidates.grid())
    if plan.seeds > 1 and isinstance(plan.candidates, Space) and plan.candidates.varies("seed"):
        raise ConfigError(
            f"--seeds={plan.seeds} repeats each point with other seeds, but the space varies the seed: leave one out"
        )
    if plan.pruner != "none" and len(plan.objectives) > 1:
        raise ConfigError(f"--pruner={plan.pruner} compares trials by one metric: give one --objective")


def drive(folder: SweepFolder, plan: SweepPlan, limits: SweepLimits, launcher: Launcher, *, keep: int | None) -> Status:
    """Runs the trials of a sweep, records their results, and returns the status of the sweep.

    Args:
        folder: folder of the sweep; the caller holds its lock.
        plan: the plan of the sweep.
        limits: limits of this start.
        launcher: runs the trials.
        keep: how many trials keep their checkpoints; None: all.
    """
    from dlexp.sweeps.tracking import SweepTracking

    tracking = SweepTracking(folder, plan)
    keepers = [] if keep is None else [CheckpointKeeper(folder, plan.objectives[0], keep)]
    with contextlib.closing(build_display(plan)) as display:
        display.print_line(_describe_start(plan, folder, limits, workers=launcher.slots))
        driver = SweepDriver(folder, plan, limits, launcher, [display, tracking, *keepers])
        with _stopping_at_signals(driver):
            driver.run()
    trials = folder.trials()
    write_table(folder, trials)
    have_all_failed = bool(trials) and all(trial.state is TrialState.FAILED for trial in trials)
    status = Status.KILLED if driver.stopping else Status.FAILED if have_all_failed else Status.FINISHED
    tracking.finish(trials, status=status)
    return status


def _describe_start(plan: SweepPlan, folder: SweepFolder, limits: SweepLimits, *, workers: int) -> str:
    points = plan.total_points()
    count = f"{points * plan.seeds} trials" if points else f"trials for {format_seconds(limits.time_budget_s)}"
    threads = plan.base.execution.num_threads or count_cores()
    threads_each = "1 thread" if threads == 1 else f"{threads} threads"
    return f"sweep {folder.name}: {count} by {plan.search} search, {workers} at once with {threads_each} each"


@contextlib.contextmanager
def _stopping_at_signals(driver: SweepDriver) -> Iterator[None]:
    """Inside the block, the first SIGINT or SIGTERM lets running trials save and end; the second ends all at once."""

    def receive(number: int, frame: FrameType | None) -> None:
        if driver.stopping:
            raise KeyboardInterrupt
        print("dlexp: stopping: running trials save a checkpoint; a second signal ends them at once", file=sys.stderr)
        driver.stop()

    previous = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def conclude(folder: SweepFolder, store: str, status: Status) -> int:
    """Prints the result of a sweep, and returns the exit code of its command.

    Raises:
        InterruptedRunError: the sweep was stopped by a signal.
        TrainingError: all trials failed.
    """
    print_status(folder)
    if status is Status.KILLED:
        command = f"dlexp sweep --resume={folder.name}{store_option(store)}"
        raise InterruptedRunError(f"sweep {folder.name} was stopped; resume it with: {command}")
    if status is Status.FAILED:
        trials = folder.trials()
        raise TrainingError(f"all {len(trials)} trials of sweep {folder.name} have failed: {trials[0].reason}")
    return 0
