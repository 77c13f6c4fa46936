"""Which run goes on, and with which config: decided before TensorFlow is imported."""

from collections.abc import Mapping
from typing import Any

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.errors import ConfigError
from dlexp.runs.run import Run, Status
from dlexp.runs.store import find_run, iterate_runs

_WHERE_IT_IS = ("experiment", "run_name", "tracking_uri")  # no part of the result, but a resume stays where it was


def find_resumed(reference: str, config: ExperimentConfig) -> Run | None:
    """The run that `--resume` means; None to start a new one.

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


def is_finished(run: Run, config: ExperimentConfig) -> bool:
    """Whether a run has all the epochs that the config wants, and its evaluation."""
    return run.status() == Status.FINISHED and config.optimization.epochs == run.config().optimization.epochs


def resumed_config(run: Run, changes: Mapping[str, Any]) -> ExperimentConfig:
    """The config of a run with what may change at a resume changed.

    Raises:
        ConfigError: a field differs that makes another training; all such fields are named with both values.
    """
    config = run.config()
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
    # The store may have been moved since, or be written relative to another folder.
    return config.replace(**wanted | {"store": str(run.path.parents[2])})
