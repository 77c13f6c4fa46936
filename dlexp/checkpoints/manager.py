"""When checkpoints are written: the best so far, and the last one with the state that a resume needs."""

import math
import pathlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import keras
import numpy as np

from dlexp.averaging import averaged_weights
from dlexp.checkpoints.files import weights_digest, write_checkpoint
from dlexp.checkpoints.metadata import FORMAT_VERSION
from dlexp.checkpoints.names import CheckpointName, format_name, name_fields
from dlexp.config import ExperimentConfig
from dlexp.datasets import Dataset
from dlexp.errors import ModelError
from dlexp.runs import Run, now


@dataclass(frozen=True)
class Subject:
    """What all checkpoints of a run have in common.

    Attributes:
        run: the run they belong to.
        run_name: its name.
        config: its config.
        dataset_name: name of the dataset.
        dataset_id: ID of the dataset.
        class_names: name of each label.
        input_shape: (height, width, channels) of the images.
        custom_layers: classes that the model needs beside Keras' own.
    """

    run: Run
    run_name: str
    config: ExperimentConfig
    dataset_name: str
    dataset_id: str
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    custom_layers: tuple[str, ...]

    @classmethod
    def of(
        cls, run: Run, run_name: str, config: ExperimentConfig, dataset: Dataset, custom_layers: Sequence[str]
    ) -> "Subject":
        """Takes from the dataset what the files tell of it."""
        shape, names = dataset.image_shape, dataset.class_names
        return cls(run, run_name, config, dataset.name, dataset.id, tuple(names), shape, tuple(custom_layers))


def build_twin(model: keras.Model, *, metrics: list[keras.metrics.Metric]) -> keras.Model:
    """The same network with weights of its own, compiled for evaluation on integer labels with Keras' own classes.

    It is what gets saved, so that plain Keras opens the file and evaluates at once, whatever optimizer, schedule and
    loss the training has. It is made the way a file is loaded: a model that no file could give back is found here.

    Args:
        model: built.
        metrics: Keras metrics for integer labels `(batch,)`.

    Raises:
        ModelError: the model cannot be made again from its config.
    """
    config = keras.saving.serialize_keras_object(model)
    config.pop("compile_config", None)
    try:
        twin = keras.saving.deserialize_keras_object(config, safe_mode=True)
        twin.set_weights(model.get_weights())
    except (TypeError, ValueError, NotImplementedError) as err:
        raise ModelError(
            f"model {model.name} cannot be made again from its config, so no checkpoint could be loaded "
            f"({str(err).strip().splitlines()[0][:200]}): give its class a get_config that returns all its arguments"
        ) from err
    twin.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=metrics)
    return twin


class CheckpointWriter:
    """Writes a model under training into files of its run.

    Args:
        model: the model under training, built and compiled.
        twin: what is saved, from `build_twin`; it is given the weights at every save. With a moving average of the
            weights these are the averages, which are what was validated.
        subject: what the files tell about it.
    """

    def __init__(self, model: keras.Model, twin: keras.Model, subject: Subject) -> None:
        self._model, self._twin, self._subject = model, twin, subject
        self.format_path("best", epoch=10**6, score=-1e6)  # a name that is too long is refused now, not after an epoch

    def write(
        self, kind: str, *, epoch: int, score: float, logs: Mapping[str, float], state: bool = False
    ) -> pathlib.Path:
        """Writes one file and returns its path.

        Args:
            kind: `best` or `last`.
            epoch: epochs completed.
            score: value of the monitored metric.
            logs: all metrics of the epoch.
            state: also store what a resume needs beside the weights.
        """
        with averaged_weights(self._model):
            for weight, trained in zip(self._twin.weights, self._model.weights, strict=True):
                weight.assign(trained)
        path = self.format_path(kind, epoch=epoch, score=score)
        metadata = self._metadata(kind, epoch=epoch, score=score, logs=logs)
        write_checkpoint(path, self._twin, metadata=metadata, state=resume_state(self._model) if state else None)
        return path

    def format_path(self, kind: str, *, epoch: int, score: float) -> pathlib.Path:
        """The path of a checkpoint of this run."""
        subject, config = self._subject, self._subject.config
        fields = name_fields(
            config.flat(),
            config.selection.checkpoint_fields,
            dataset_name=subject.dataset_name,
            dataset_id=subject.dataset_id,
            image_size=subject.input_shape[:2],
        )
        name = CheckpointName(
            fields, run=subject.run.id[:8], kind=kind, epoch=epoch, monitor=config.selection.monitor, score=score
        )
        return subject.run.checkpoints_folder / format_name(name)

    def _metadata(self, kind: str, *, epoch: int, score: float, logs: Mapping[str, float]) -> dict[str, Any]:
        subject = self._subject
        return {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "run_id": subject.run.id,
            "run_name": subject.run_name,
            "epoch": epoch,
            "step": int(self._model.optimizer.iterations.numpy()),
            "monitor": subject.config.selection.monitor,
            "score": score,
            "metrics": {key: float(value) for key, value in logs.items()},
            "config": subject.config.flat(),
            "dataset_name": subject.dataset_name,
            "dataset_id": subject.dataset_id,
            "class_names": list(subject.class_names),
            "input_shape": list(subject.input_shape),
            "weights_digest": weights_digest(self._twin),
            "custom_layers": list(subject.custom_layers),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("dlexp", "keras", "tensorflow")},
            "written": now(),
        }


def resume_state(model: keras.Model) -> dict[str, np.ndarray]:
    """Arrays that continue the training exactly and that a `.keras` file does not keep.

    Returns:
        `optimizer_N`: the optimizer's variables in order; `seed_N`: states of the model's seed generators, which Keras
        leaves out of its files; with a moving average also `weight_N`, as the file then holds the averages.
    """
    weights = {id(weight) for weight in model.weights}
    groups = {
        "optimizer": model.optimizer.variables,
        "seed": [variable for variable in model.variables if id(variable) not in weights],
        "weight": model.weights if model.optimizer.use_ema else [],
    }
    return {f"{group}_{n}": each.numpy() for group, variables in groups.items() for n, each in enumerate(variables)}


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps the model of the epoch with the best monitored value so far; the first of equal ones.

    A value that is not finite is never best. The former file goes after the new one stands.

    Attributes:
        epoch: of the best so far; 0 before the first.
        path: of its file.
    """

    def __init__(self, writer: CheckpointWriter, *, run: Run, monitor: str, mode: str) -> None:
        super().__init__(str(run.checkpoints_folder / "best.keras"), monitor=monitor, mode=mode, save_best_only=True)
        self._writer, self._run, self._larger_is_better = writer, run, mode == "max"
        self.epoch = 0
        self.path: pathlib.Path | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves if the epoch is the best so far."""
        logs = logs or {}
        score = float(logs[self.monitor])
        if not self.is_better(score):
            return
        former, self.best, self.epoch = self.path, score, epoch + 1
        self.path = self._writer.write("best", epoch=epoch + 1, score=score, logs=logs)
        self._run.update(
            best_epoch=epoch + 1,
            best_checkpoint=str(self.path.relative_to(self._run.path)),
            metrics={key: float(value) for key, value in logs.items()},
        )
        _remove_former(former, self.path)

    def is_better(self, score: float) -> bool:
        """Whether a value beats the best so far."""
        if not math.isfinite(score):
            return False
        return self.best is None or (score > self.best if self._larger_is_better else score < self.best)


class LastCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps the newest model, with the state that a resume needs.

    Attributes:
        path: of its file; None before the first epoch has ended.
    """

    def __init__(self, writer: CheckpointWriter, *, run: Run, monitor: str) -> None:
        super().__init__(str(run.checkpoints_folder / "last.keras"), monitor=monitor)
        self._writer = writer
        self.path: pathlib.Path | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves every epoch."""
        logs = logs or {}
        former = self.path
        self.path = self._writer.write("last", epoch=epoch + 1, score=float(logs[self.monitor]), logs=logs, state=True)
        _remove_former(former, self.path)


def _remove_former(former: pathlib.Path | None, current: pathlib.Path) -> None:
    if former is not None and former != current:
        former.unlink(missing_ok=True)
