"""`dlexp sweep`: many trials over a space of flags, side by side; goes on with a sweep, and looks at one."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.config.command import Command, CommandLine
from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.errors import ConfigError
from dlexp.machine.units import parse_bytes, parse_seconds
from dlexp.runs.preflight import check_store
from dlexp.sweeps.display import print_status
from dlexp.sweeps.driver import SweepLimits
from dlexp.sweeps.folder import (
    SweepFolder,
    check_new_name,
    create_sweep,
    default_name,
    find_sweep,
)
from dlexp.sweeps.launchers.choice import LAUNCHER_FLAGS, choose_launcher
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.plan import Candidates, SweepPlan, check_same, check_trials, read_plan
from dlexp.sweeps.search import PRUNERS, SEARCHES, check_search
from dlexp.sweeps.session import RUNNER, check_plan, conclude, drive
from dlexp.sweeps.space.runs_file import Commands
from dlexp.sweeps.space.space import Space

# What a trial leaves out unless its flag is given: each takes longer than many a trial.
_LEFT_OUT = ("mlflow_autolog", "system_metrics", "tensorboard", "sample_pictures", "evaluation_report")
_PLAN_FLAGS = ("search", "trials", "seeds", "pruner", "search_seed")
_PLAN_FIELDS = {"trials": "num_points"}
_FLAGS: dict[str, tuple[Any, str]] = {
    "sweep_name": ("", "Name of the sweep and of its folder; made from the time if empty."),
    "space": (
        "",
        'What is varied: "learning_rate=log(1e-4,1e-1); model=choice(small_cnn,resnet20); seed=range(3)". '
        "uniform(low,high) and int(low,high) as well; a name is a flag, model_args.dropout, or resnet20.dropout for "
        "that model alone.",
    ),
    "space_file": ("", 'The same as JSON: {"learning_rate": {"log": [1e-4, 0.1]}, "batch_size": 64}.'),
    "runs_file": ("", "In place of a space: a file with the flags of one run a line."),
    "search": ("grid", f"How points are chosen, one of {', '.join(SEARCHES)}."),
    "search_seed": (0, "Seed of the search."),
    "trials": (0, "How many points are tried; 0: all of the grid. May be raised with --resume."),
    "seeds": (1, "Trials of each point, with as many seeds; a point is judged by their mean."),
    "objective": ("val_accuracy", "What is best: a metric, metric:min or metric:max; several by commas: Pareto front."),
    "pruner": ("none", f"Gives up trials early, one of {', '.join(PRUNERS)}."),
    **LAUNCHER_FLAGS,
    "time_budget": ("", "No trial starts after this time: 90s, 45m, 2h."),
    "trial_time_limit": ("", "A trial that takes longer has failed: 90s, 45m, 2h."),
    "trial_memory_limit": ("", "A trial whose process holds more has failed: 800MB, 4GB."),
    "retries": (2, "How often a trial whose process has died is started again, from its checkpoint."),
    "keep_checkpoints": ("all", "Keep the checkpoints of so many best trials; a number, or all."),
    "resume": ("", "Go on with a sweep by its name, or latest: finished trials stand, unfinished ones go on."),
    "retry_failed": (False, "With --resume: start failed trials again."),
    "allow_changes": (False, "With --resume: go on although the space or other flags have changed."),
    "status": ("", "Show a sweep by its name, or latest, and do nothing else."),
}


def _sweep(line: CommandLine) -> int:
    """Runs a sweep; returns 0, or 1 if all trials have failed.

    Raises:
        InterruptedRunError: a signal has stopped it.
    """
    given, store = line.options, line.config.tracking.store
    if given["status"]:
        print_status(find_sweep(store, given["status"]))
        return 0
    check_search(given["search"], given["pruner"])
    check_store(store)
    launcher, limits, keep = choose_launcher(given), _read_limits(given), _read_keep(given)
    if given["resume"]:
        former, plan = _open_former(line)
        if "keep_checkpoints" not in line.given:
            keep = former.record().get("keep_checkpoints")
    else:
        former, plan = None, _make_plan(line, launcher.threads)
        check_new_name(store, plan.name)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with contextlib.closing(launcher.open(RUNNER)) as launched:
        folder = former or create_sweep(store, plan.name, plan.to_dict())
        with folder.hold():
            folder.update(plan=plan.to_dict(), keep_checkpoints=keep)
            status = drive(folder, plan, limits, launched, keep=keep)
    return conclude(folder, store, status)


def _make_plan(line: CommandLine, threads: int) -> SweepPlan:
    given, base = line.options, _trial_config(line, threads)
    plan = SweepPlan(
        name=given["sweep_name"] or default_name(),
        candidates=_read_candidates(given, base),
        search=given["search"],
        num_points=given["trials"],
        seeds=given["seeds"],
        objectives=parse_objectives(given["objective"]),
        pruner=given["pruner"],
        search_seed=given["search_seed"],
    )
    check_plan(plan, given)
    return plan


def _trial_config(line: CommandLine, threads: int) -> ExperimentConfig:
    """The config of the flags, as trials side by side need it."""
    own: dict[str, Any] = {name: False for name in _LEFT_OUT if name not in line.given}
    own |= {name: threads for name in ("num_threads", "num_workers") if name not in line.given}
    store = str(pathlib.Path(line.config.tracking.store).resolve())
    return line.config.replace(**own, verbose=0, store=store)


def _read_candidates(given: Mapping[str, Any], base: ExperimentConfig) -> Candidates:
    named = [name for name in ("space", "space_file", "runs_file") if given[name]]
    if len(named) != 1:
        raise ConfigError(
            f"dlexp sweep needs one of --space, --space_file and --runs_file, and got {' and '.join(named) or 'none'}"
        )
    if given["runs_file"]:
        return Commands.read(given["runs_file"], base)
    if given["space"]:
        return Space.parse(given["space"], base)
    try:
        text = pathlib.Path(given["space_file"]).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"--space_file={given['space_file']} cannot be read: {err}") from err
    return Space.from_json(text, base)


def _open_former(line: CommandLine) -> tuple[SweepFolder, SweepPlan]:
    """A sweep that was begun before, with what is given now changed in it."""
    given = line.options
    folder = find_sweep(line.config.tracking.store, given["resume"])
    stored = folder.record()["plan"]
    former = read_plan(folder.name, stored)
    changed = line.given_fields(line.config)
    base = former.base.replace(**changed, store=str(folder.store))
    if any(given[name] for name in ("space", "space_file", "runs_file")):
        candidates = _read_candidates(given, base)
    else:
        candidates = former.candidates.with_base(base)
    own = {_PLAN_FIELDS.get(flag, flag): given[flag] for flag in _PLAN_FLAGS if flag in line.given}
    if "objective" in line.given:
        own["objectives"] = parse_objectives(given["objective"])
    plan = dataclasses.replace(former, candidates=candidates, **own)
    if not given["allow_changes"]:
        check_same(plan, stored)
    check_plan(plan, {**given, "time_budget": given["time_budget"] or "resumed"})
    check_trials(plan, folder.trials())
    return folder, plan


def _read_limits(given: Mapping[str, Any]) -> SweepLimits:
    if given["retries"] < 0:
        raise ConfigError(f"--retries={given['retries']} must be 0 or more")
    return SweepLimits(
        time_budget_s=parse_seconds("time_budget", given["time_budget"]),
        trial_seconds=parse_seconds("trial_time_limit", given["trial_time_limit"]),
        trial_bytes=parse_bytes("trial_memory_limit", given["trial_memory_limit"]),
        retries=given["retries"],
        retry_failed=given["retry_failed"],
    )


def _read_keep(given: Mapping[str, Any]) -> int | None:
    """How many trials keep their checkpoints; None for all."""
    text = given["keep_checkpoints"]
    if text == "all":
        return None
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"--keep_checkpoints={text} must be all, or a whole number from 1 on")
    return int(text)


COMMAND = Command(
    run=_sweep,
    example='--space="learning_rate=log(1e-4,1e-1)" --search=random --trials=20',
    description="Every flag of dlexp train may be given too: see dlexp train --help.",
    flags=_FLAGS,
    config_flags=config_fields(),
    listed_config_flags=("store",),
)
