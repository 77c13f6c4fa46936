"""Finds the checkpoint that a run is resumed from, and restores the model from it."""

import io
import logging
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from dlexp.checkpoints.metadata import STATE_MEMBER, age_of, read_metadata
from dlexp.checkpoints.seal import check_seal
from dlexp.checkpoints.search import checkpoint_files, temporary_files
from dlexp.checkpoints.snapshot import Position, state_variables
from dlexp.errors import CheckpointError
from dlexp.models.keras_internals import make_metric_variables, metric_variables
from dlexp.runs.run import FLAGS_FILE, Run

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResumePoint:
    """What a training is resumed from; without arguments, the start of a new one.

    Attributes:
        position: steps and epochs completed.
        stopped: early stopping had ended the training.
        callback_state: what its callbacks remember, see `get_callback_state`.
        state: see `Snapshot`.
        metrics: of the last epoch.
        path: of the checkpoint; None at the start.
        is_last: the checkpoint is a `last`, not a `best`.
    """

    position: Position = field(default_factory=Position)
    stopped: bool = False
    callback_state: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, np.ndarray] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    path: pathlib.Path | None = None
    is_last: bool = True


def find_resume_point(run: Run) -> ResumePoint:
    """The newest undamaged checkpoint of a run; the start of the training if the run has no checkpoint.

    Every byte of a file is verified before any of it is used. Damaged files are skipped with a warning.

    Raises:
        CheckpointError: the run has checkpoints, and all are damaged.
    """
    damaged: list[str] = []
    valid: list[tuple[pathlib.Path, dict[str, Any]]] = []
    for path in checkpoint_files(run):
        try:
            metadata = read_metadata(path)
            check_seal(path)
        except CheckpointError:
            damaged.append(path.name)
            continue
        if _holds_state(path):
            valid.append((path, metadata))
    if damaged and not valid:
        raise CheckpointError(
            f"run {run.id[:8]} cannot be resumed, as all its checkpoints are damaged ({', '.join(damaged)}): start a "
            f"new run with --flagfile={run.path / FLAGS_FILE}"
        )
    if not valid:
        return ResumePoint()
    path, metadata = max(valid, key=lambda checkpoint: age_of(checkpoint[1]))
    if damaged:
        _log.warning("checkpoint %s is damaged: resuming from %s", ", ".join(damaged), path.name)
    return _read_point(path, metadata)


def remove_leftovers(run: Run) -> None:
    """Removes temporary checkpoints of a killed process; the caller must hold the run's lock."""
    for path in temporary_files(run):
        path.unlink()


def _holds_state(path: pathlib.Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return STATE_MEMBER in archive.namelist()


def _read_point(path: pathlib.Path, metadata: Mapping[str, Any]) -> ResumePoint:
    with zipfile.ZipFile(path) as archive, np.load(io.BytesIO(archive.read(STATE_MEMBER)), allow_pickle=False) as file:
        state = dict(file)
    training = metadata["training"]
    return ResumePoint(
        position=Position(metadata["step"], metadata["epoch"]),
        stopped=training["stopped"],
        callback_state=training["callbacks"],
        state=state,
        metrics=metadata["metrics"],
        path=path,
        is_last=metadata["kind"] == "last",
    )


def restore_model(model: keras.Model, portable_model: keras.Model, point: ResumePoint, *, num_classes: int) -> None:
    """Restores weights, optimizer, seed generators and metrics of a model from a checkpoint.

    Args:
        model: compiled by `compile_model` for the config of the run.
        portable_model: its counterpart from `build_portable_model`, which loads the weights from the file.
        point: has a path.
        num_classes: number of classes.

    Raises:
        CheckpointError: the checkpoint holds another model; `model` is unchanged.
    """
    try:
        portable_model.load_weights(point.path)
    except (ValueError, KeyError, OSError) as err:
        raise _other_model(point) from err
    weights = [weight.numpy() for weight in portable_model.weights]
    groups = state_variables(model)
    averaged = groups.pop("weight")
    del groups["metric"]  # they may have no variables yet: see restore_metrics
    assignments = list(zip(model.weights, _group(point, "weight") if averaged else weights, strict=True))
    for name, variables in groups.items():
        arrays = _group(point, name)
        if len(arrays) != len(variables):
            raise _other_model(point)
        assignments += zip(variables, arrays, strict=True)
    if any(tuple(variable.shape) != array.shape for variable, array in assignments):
        raise _other_model(point)
    _assign(assignments)
    make_metric_variables(model, num_classes)
    if _holds_metrics_of(model, point):  # at the end of an epoch, those of another version matter no more
        _assign(list(zip(metric_variables(model), _group(point, "metric"), strict=True)))


def restore_metrics(model: keras.Model, point: ResumePoint, *, num_classes: int) -> None:
    """Restores the values of the metrics in an epoch that was left unfinished; call it after `reset_metrics`.

    Raises:
        CheckpointError: the checkpoint holds other metrics, as those of another version may be.
    """
    make_metric_variables(model, num_classes)
    if not _holds_metrics_of(model, point):
        raise CheckpointError(
            f"checkpoint {point.path} was written within an epoch and holds other metrics than this version measures: "
            "resume it with the version that wrote it, or start a new run with --init_checkpoint"
        )
    _assign(list(zip(metric_variables(model), _group(point, "metric"), strict=True)))


def _holds_metrics_of(model: keras.Model, point: ResumePoint) -> bool:
    shapes = [tuple(variable.shape) for variable in metric_variables(model)]
    return shapes == [array.shape for array in _group(point, "metric")]


def _group(point: ResumePoint, name: str) -> list[np.ndarray]:
    count = sum(key.rpartition("_")[0] == name for key in point.state)
    return [point.state[f"{name}_{number}"] for number in range(count)]


def _assign(assignments: Sequence[tuple[Any, np.ndarray]]) -> None:
    for variable, array in assignments:
        # NumPy has no bfloat16: such an array comes back from the file as bytes without a type.
        variable.assign(array.view(variable.numpy().dtype) if array.dtype.kind == "V" else array)


def _other_model(point: ResumePoint) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {point.path} does not fit the model that its run's config builds: has the model's code changed? "
        "Start a new run with --init_checkpoint"
    )
