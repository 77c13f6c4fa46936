"""`dlexp sweep`: trains many trials over a search space of flags in parallel; resumes a sweep, or shows its status."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dlexp.config.command import Command, CommandLine
from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.errors import ConfigError
from dlexp.machine.console import note
from dlexp.machine.units import parse_bytes, parse_seconds
from dlexp.runs.preflight import check_store
from dlexp.sweeps.batch_size_check import check_batch_sizes
from dlexp.sweeps.confirmation import best_points
from dlexp.sweeps.display import print_status
from dlexp.sweeps.driver import SweepLimits
from dlexp.sweeps.folder import (
    SweepFolder,
    check_new_name,
    create_sweep,
    default_name,
    find_sweep,
)
from dlexp.sweeps.judging import judge_again
from dlexp.sweeps.launchers.choice import LAUNCHER_FLAGS, LauncherChoice, choose_launcher
from dlexp.sweeps.objective import parse_objectives
from dlexp.sweeps.plan import Candidates, SweepPlan, check_same, check_trials, read_plan
from dlexp.sweeps.search import PRUNERS, SEARCHES, check_search
from dlexp.sweeps.session import RUNNER, check_plan, conclude, drive
from dlexp.sweeps.space.candidates import read_candidates

# Off in trials unless the flag is given: each of these can take longer than the training of a trial.
_LEFT_OUT = ("mlflow_autolog", "system_metrics", "tensorboard", "sample_pictures", "evaluation_report")
_PLAN_FLAGS = ("search", "trials", "seeds", "pruner", "search_seed")
_SEEDS_TO_CONFIRM = 5
_PLAN_FIELDS = {"trials": "num_points"}
_FLAGS: dict[str, tuple[Any, str]] = {
    "sweep_name": ("", "Name of the sweep and of its folder; made from the time if empty."),
    "space": (
        "",
        'Flags to vary, such as "learning_rate=log(1e-4,1e-1); model=choice(small_cnn,resnet20); seed=range(3)"; '
        "also uniform(low,high) and int(low,high). A name is a flag, model_args.dropout, or resnet20.dropout for that "
        "model only.",
    ),
    "space_file": ("", 'JSON file with the space: {"learning_rate": {"log": [1e-4, 0.1]}, "batch_size": 64}.'),
    "runs_file": ("", "File with the flags of one run on each line, in place of a space."),
    "search": ("grid", f"How points are chosen, one of {', '.join(SEARCHES)}."),
    "search_seed": (0, "Seed of the search."),
    "trials": (0, "Number of different points to try; 0: the whole grid. May be raised with --resume."),
    "seeds": (
        1,
        "Number of seeds, so of trials, for each point; a point is judged by their mean. With --confirm, by default 5.",
    ),
    "objective": (
        "val_accuracy",
        "Metric that decides which trial is best, or metric:min, metric:max; several joined by commas: Pareto front. "
        "Another one with --resume judges finished trials again.",
    ),
    "pruner": ("none", f"Stops trials early, one of {', '.join(PRUNERS)}."),
    **LAUNCHER_FLAGS,
    "time_budget": ("", "Start no trial after this time: 90s, 45m, 2h."),
    "trial_time_limit": ("", "Stop a trial as failed if it takes longer: 90s, 45m, 2h."),
    "trial_memory_limit": ("", "Stop a trial as failed if its process uses more memory: 800MB, 4GB."),
    "retries": (2, "How often a trial is restarted from its checkpoint if its process died."),
    "keep_checkpoints": ("all", "Keep the checkpoints of this many best trials: a number, or all."),
    "resume": ("", "Resume a sweep, by its name or latest: finished trials are kept, unfinished ones are resumed."),
    "retry_failed": (False, "With --resume: start failed trials again."),
    "allow_changes": (False, "With --resume: resume although the space or other flags have changed."),
    "confirm": ("", "Train the best points of a sweep again, by its name or latest, with --seeds fresh seeds."),
    "confirm_top": (3, "With --confirm: how many of the best points."),
    "status": ("", "Only show the state of a sweep, by its name or latest."),
}


def _sweep(line: CommandLine) -> int:
    """Runs a sweep; returns 0, or 1 if all trials have failed.

    Raises:
        InterruptedRunError: a signal stopped the sweep.
    """
    given, store = line.options, line.config.tracking.store
    if given["status"]:
        print_status(find_sweep(store, given["status"]))
        return 0
    check_search(given["search"], given["pruner"])
    check_store(store)
    launcher, limits, keep = choose_launcher(given), _read_limits(given), _read_keep(given)
    if given["resume"]:
        resumed, plan = _open_resumed(line)
        if "keep_checkpoints" not in line.given:
            keep = resumed.record().get("keep_checkpoints")
    else:
        resumed, plan = None, _make_plan(line, launcher.threads)
        check_new_name(store, plan.name)
        plan = _with_batch_size(plan, launcher)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with contextlib.closing(launcher.open(RUNNER)) as launched:
        folder = resumed or create_sweep(store, plan.name, plan.to_dict())
        with folder.hold():
            folder.update(plan=plan.to_dict(), keep_checkpoints=keep)
            status = drive(folder, plan, limits, launched, keep=keep)
    return conclude(folder, store, status)


def _make_plan(line: CommandLine, threads: int) -> SweepPlan:
    given = line.options
    if given["confirm"]:
        return _confirming_plan(line)
    plan = SweepPlan(
        name=given["sweep_name"] or default_name(),
        candidates=read_candidates(given, _trial_config(line, threads)),
        search=given["search"],
        num_points=given["trials"],
        seeds=given["seeds"],
        objectives=parse_objectives(given["objective"]),
        pruner=given["pruner"],
        search_seed=given["search_seed"],
    )
    check_plan(plan, given)
    return plan


def _confirming_plan(line: CommandLine) -> SweepPlan:
    """The plan of a sweep over the best points of another one, with fresh seeds."""
    given, store = line.options, line.config.tracking.store
    if taken := [
        name for name in ("space", "space_file", "runs_file", "trials", "search", "pruner") if name in line.given
    ]:
        raise ConfigError(
            f"--{taken[0]} cannot be used with --confirm={given['confirm']}, which trains the points of that sweep: "
            "leave one of them out"
        )
    if given["confirm_top"] < 1:
        raise ConfigError(f"--confirm_top={given['confirm_top']} must be 1 or more")
    folder = find_sweep(store, given["confirm"])
    previous = read_plan(folder.name, folder.record()["plan"])
    base = previous.base.replace(**line.given_fields(line.config), store=str(folder.store))
    changed = dataclasses.replace(previous, candidates=previous.candidates.with_base(base))
    return dataclasses.replace(
        changed,
        name=given["sweep_name"] or f"{folder.name}-confirmed",
        candidates=best_points(folder, changed, top=given["confirm_top"]),
        search="grid",
        num_points=0,
        seeds=given["seeds"] if "seeds" in line.given else _SEEDS_TO_CONFIRM,
        pruner="none",
    )


def _with_batch_size(plan: SweepPlan, launcher: LauncherChoice) -> SweepPlan:
    """Returns the plan with numbers in place of `auto`: one batch size that fits all of its trials."""
    if not plan.base.data.has_auto_size:
        if any(config.data.has_auto_size for config in plan.candidates.corner_configs()):
            raise ConfigError(
                "auto is one batch size for all trials of a sweep, not a value of one of them: give --batch_size=auto "
                "or --micro_batch_size=auto as a flag of the sweep, or leave it out"
            )
        return plan
    from dlexp.memory.budget import CPU, find_budget
    from dlexp.memory.choice import MEMORY_FIELDS, keep_or_choose

    if launcher.name != "local":
        raise ConfigError(
            f"batch_size=auto measures on this machine, and --launcher={launcher.name} trains on others: find it there "
            "with dlexp batch-size, and give the number"
        )
    combinations = plan.candidates.combinations({*MEMORY_FIELDS, "batch_size"})
    configs = [config for config in combinations if config.data.has_auto_size]
    budget = find_budget()
    shared = budget.shared_by(launcher.workers) if budget.device == CPU else budget
    chosen = keep_or_choose(configs, plan.base.tracking, budget=shared, report=note)
    plan = dataclasses.replace(plan, candidates=plan.candidates.with_base(plan.base.replace(**chosen)))
    check_batch_sizes(plan)
    return plan


def _trial_config(line: CommandLine, threads: int) -> ExperimentConfig:
    """Returns the config of the flags, changed for trials that run in parallel."""
    own: dict[str, Any] = {name: False for name in _LEFT_OUT if name not in line.given}
    own |= {name: threads for name in ("num_threads", "num_workers") if name not in line.given}
    store = str(pathlib.Path(line.config.tracking.store).resolve())
    return line.config.replace(**own, verbose=0, store=store)


def _open_resumed(line: CommandLine) -> tuple[SweepFolder, SweepPlan]:
    """Opens the sweep of `--resume`; the plan has the changes that the flags of this call make."""
    given = line.options
    folder = find_sweep(line.config.tracking.store, given["resume"])
    stored = folder.record()["plan"]
    previous = read_plan(folder.name, stored)
    changed = line.given_fields(line.config)
    base = previous.base.replace(**changed, store=str(folder.store))
    candidates: Candidates
    if any(given[name] for name in ("space", "space_file", "runs_file")):
        candidates = read_candidates(given, base)
    else:
        candidates = previous.candidates.with_base(base)
    own = {_PLAN_FIELDS.get(flag, flag): given[flag] for flag in _PLAN_FLAGS if flag in line.given}
    if "objective" in line.given:
        own["objectives"] = parse_objectives(given["objective"])
    plan = dataclasses.replace(previous, candidates=candidates, **own)
    if not given["allow_changes"]:
        check_same(plan, stored)
    check_plan(plan, {**given, "time_budget": given["time_budget"] or "resumed"})
    check_trials(plan, folder.trials())
    list(judge_again(folder, plan))  # refuses objectives that finished runs lack, before anything is written
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
    """Returns how many trials keep their checkpoints; None for all."""
    text = given["keep_checkpoints"]
    if text == "all":
        return None
    if not text.isdecimal() or not int(text):
        raise ConfigError(f"--keep_checkpoints={text} must be all, or a whole number, at least 1")
    return int(text)


COMMAND = Command(
    run=_sweep,
    example='--space="learning_rate=log(1e-4,1e-1)" --search=random --trials=20',
    description="Accepts every flag of dlexp train too, for all trials: see dlexp train --help.",
    flags=_FLAGS,
    config_flags=config_fields(),
    listed_config_flags=("store",),
)
