"""Which run is resumed, and with which config: decided before TensorFlow is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.errors import ConfigError
from dlexp.runs.run import Run, Status
from dlexp.runs.store import find_run, iterate_runs

_WHERE_IT_IS = ("experiment", "run_name", "tracking_uri")  # not part of the result, but a resume must not move the run


@dataclass(frozen=True)
class ResumePlan:
    """How a run is resumed, decided once from its folder; `resume_run` carries it out.

    Attributes:
        run: the run.
        config: its config with the changes of this resume.
        is_finished: the run has all the epochs of `config` and its evaluation: there is nothing left to do.
    """

    run: Run
    config: ExperimentConfig
    is_finished: bool


def plan_resume(run: Run, changes: Mapping[str, Any]) -> ResumePlan:
    """Decides how a run is resumed; writes nothing.

    Args:
        run: the run.
        changes: config fields with new values: `epochs` may be raised, and fields that the result does not depend on
            may differ, such as `num_workers`.

    Raises:
        ConfigError: a change would make another training; all such fields are named with both values. Or the run has
            diverged.

    Example:
        >>> plan = plan_resume(find_run("latest"), {"epochs": 20})
        >>> plan.is_finished
        False
    """
    stored = run.config()
    config = _change_config(run, stored, changes)
    finished = run.status() == Status.FINISHED and config.optimization.epochs == stored.optimization.epochs
    return ResumePlan(run, config, finished)


def find_resumed(reference: str, config: ExperimentConfig) -> Run | None:
    """The run that `--resume` names; None to start a new one.

    Args:
        reference: a RUN; `auto` for the newest unfinished run of the same config; or empty.
        config: of the flags.

    Raises:
        RunNotFoundError: there is no such run.
    """
    store = config.tracking.store
    if reference != "auto":
        return find_run(reference, store) if reference else None
    ended = (Status.FINISHED, Status.DIVERGED)
    digest = config.digest()
    runs = [run for run in iterate_runs(store) if run.status() not in ended and run.config().digest() == digest]
    return max(runs, key=lambda run: run.record()["started"], default=None)


def _change_config(run: Run, config: ExperimentConfig, changes: Mapping[str, Any]) -> ExperimentConfig:
    stored, fields = config.flat(), config_fields()
    wanted = config.replace(**changes).flat()
    differences = [
        f"{name}={wanted[name]!r} (it has {stored[name]!r})"
        for name in changes
        if wanted[name] != stored[name]
        and not (name == "epochs" and wanted[name] > stored[name])
        and (fields[name].metadata["changes_result"] or name in _WHERE_IT_IS)
    ]
    if differences:
        raise ConfigError(
            f"run {run.id[:8]} cannot be resumed with {', '.join(differences)}: leave that out, or "
            f"start a new run from its weights with --init_checkpoint={run.id[:8]}:best"
        )
    if run.status() == Status.DIVERGED:
        raise ConfigError(
            f"run {run.id[:8]} diverged at step {run.record()['diverged_step']}, and would again: start a new run with "
            f"a smaller --learning_rate, from its weights with --init_checkpoint={run.id[:8]}:best"
        )
    # The store may have been moved since, or its recorded path may be relative to another folder.
    return config.replace(**wanted | {"store": str(run.path.parents[2])})
