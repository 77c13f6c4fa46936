"""Decides which run is resumed and with which config, before TensorFlow is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.sections import ENDING_SCHEDULES
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError
from dlexp.runs.run import Run, Status
from dlexp.runs.store import find_run, iterate_runs

# These fields do not change the result, but a resumed run must keep them.
_FIXED_FIELDS = ("experiment", "run_name", "tracking_uri")
# A run records what was found for these if they are auto.
_FOUND_FIELDS = ("bits", "batch_size", "micro_batch_size")


@dataclass(frozen=True)
class ResumePlan:
    """How a run is resumed; decided once from its folder, carried out by `resume_run`.

    Attributes:
        run: the run to resume.
        config: its config with the changes of this resume.
        is_finished: the run has finished all epochs of `config` and its evaluation, so there is nothing left to do.
    """

    run: Run
    config: ExperimentConfig
    is_finished: bool


def plan_resume(run: Run, changes: Mapping[str, Any], *, extend_schedule: bool = False) -> ResumePlan:
    """Decides how a run is resumed; writes nothing.

    Args:
        run: the run to resume.
        changes: config fields with new values: `epochs` may be larger, and fields that do not change the result may
            differ, such as `num_workers`. `auto` is what the run has found.
        extend_schedule: allow more epochs under a learning-rate schedule whose course depends on their number. The old
            schedule then holds up to the end of the old epochs, which `extended_from` of the config records.

    Raises:
        ConfigError: a change would change the result, and all such fields are named with both values; or the run has
            diverged.

    Example:
        >>> plan = plan_resume(find_run("latest"), {"epochs": 20})
        >>> plan.is_finished
        False
    """
    stored = run.config()
    config = _extend(run, stored, _change_config(run, stored, changes), is_asked_for=extend_schedule)
    finished = run.status() == Status.FINISHED and config.optimization.epochs == stored.optimization.epochs
    return ResumePlan(run, config, finished)


def find_resumed(reference: str, config: ExperimentConfig) -> Run | None:
    """Finds the run that `--resume` refers to; returns None to start a new run.

    Args:
        reference: a RUN; `auto` for the newest unfinished run with the same config; or empty.
        config: made from the flags.

    Raises:
        RunNotFoundError: there is no such run.
    """
    store = config.tracking.store
    if reference != "auto":
        return find_run(reference, store) if reference else None
    ended = (Status.FINISHED, Status.DIVERGED)
    unfinished = [run for run in iterate_runs(store) if run.status() not in ended]
    same = {name: value for name, value in config.flat().items() if _is_found(name, value)}
    for wanted in _digests(config):
        runs = [run for run in unfinished if run.config().replace(**same).digest() == wanted]
        if runs:
            return max(runs, key=lambda run: run.record()["started"])
    return None


def _is_found(name: str, value: Any) -> bool:
    """Returns whether a run finds the value of a field."""
    return name in _FOUND_FIELDS and value in ("auto", AUTO)


def _digests(config: ExperimentConfig) -> list[str]:
    """Returns the digest of a config, and then the one that earlier versions recorded for the same flags."""
    earlier = {"auto": "stratified"}.get(config.data.split_method, config.data.split_method)  # their default
    momentum = {"auto": "keep"}.get(config.model.batch_norm_momentum, config.model.batch_norm_momentum)
    return [config.digest(), config.replace(split_method=earlier, batch_norm_momentum=momentum).digest()]


def _extend(run: Run, stored: ExperimentConfig, config: ExperimentConfig, *, is_asked_for: bool) -> ExperimentConfig:
    """Returns the config with a record of the epochs that its schedule was planned for, if that matters."""
    planned, epochs = stored.optimization.epochs, config.optimization.epochs
    if epochs == planned or stored.optimization.lr_schedule not in ENDING_SCHEDULES:
        return config
    if not is_asked_for:
        raise ConfigError(
            f"run {run.id[:8]} cannot be resumed with epochs={epochs}, as "
            f"lr_schedule={stored.optimization.lr_schedule} was planned for {planned}: start a new run with "
            f"--init_checkpoint={run.id[:8]}:best, or record the break with --extend_schedule"
        )
    name = stored.tracking.run_name
    return config.replace(
        extended_from=(*stored.optimization.extended_from, str(planned)),
        run_name=f"{name}-from{planned}" if name else "",
    )


def _change_config(run: Run, config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    stored, fields = config.flat(), config_fields()
    changes = {name: value for name, value in changes.items() if not _is_found(name, value)}
    wanted = config.replace(**changes).flat()
    differences = [
        f"{name}={wanted[name]!r} (the run has {stored[name]!r})"
        for name in changes
        if wanted[name] != stored[name]
        and not (name == "epochs" and wanted[name] > stored[name])
        and (fields[name].metadata["changes_result"] or name in _FIXED_FIELDS)
    ]
    if differences:
        raise ConfigError(
            f"run {run.id[:8]} cannot be resumed with {', '.join(differences)}: leave that out, or "
            f"start a new run from its weights with --init_checkpoint={run.id[:8]}:best"
        )
    if run.status() == Status.DIVERGED:
        raise ConfigError(
            f"run {run.id[:8]} diverged at step {run.record()['diverged_step']} and would diverge again: start a new "
            f"run with a smaller --learning_rate, from its weights with --init_checkpoint={run.id[:8]}:best"
        )
    # The store may have been moved, or its recorded path may be relative to another folder.
    return config.replace(**wanted | {"store": str(run.path.parents[2])})
