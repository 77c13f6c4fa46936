"""Writes checkpoints of a training in the background; the training waits only for a copy to host memory."""

import functools
import logging
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from types import TracebackType
from typing import Any

import keras

from dlexp.checkpoints.archive import NetworkArchive
from dlexp.checkpoints.callback_state import get_callback_state
from dlexp.checkpoints.files import write_checkpoint
from dlexp.checkpoints.metadata import FORMAT_VERSION
from dlexp.checkpoints.names import CheckpointName, format_name, name_fields
from dlexp.checkpoints.snapshot import Position, Snapshot, take_snapshot
from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset
from dlexp.errors import StoreError
from dlexp.machine.timestamps import now
from dlexp.runs.run import Run

_log = logging.getLogger(__name__)
_MOST_UNFINISHED = 2  # one being written, one waiting; both hold a copy of the model


@dataclass(frozen=True)
class CheckpointContext:
    """What all checkpoints of a run have in common.

    Attributes:
        run: the run they belong to.
        run_name: its name.
        config: its config.
        dataset_name: name of the dataset.
        dataset_id: ID of the dataset.
        class_names: name of each label.
        input_shape: (height, width, channels) of the images.
        custom_layers: names of the classes that the model needs in addition to Keras' own.
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
    ) -> "CheckpointContext":
        """Builds the context of a run that is trained on a dataset."""
        shape, names = dataset.image_shape, dataset.class_names
        return cls(run, run_name, config, dataset.name, dataset.id, tuple(names), shape, tuple(custom_layers))


@functools.cache
def _versions() -> Mapping[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in ("dlexp", "keras", "tensorflow")}


class CheckpointWriter:
    """Saves a model under training to files of its run, in the order of the calls, in a background thread.

    As a context manager it waits at the end until all files are written.

    Args:
        model: the model under training, built and compiled.
        network: writes the members of the `.keras` files; only the background thread uses it.
        context: what all files of the run have in common.

    Raises:
        ConfigError: the file names would be too long.
    """

    def __init__(self, model: keras.Model, network: NetworkArchive, context: CheckpointContext) -> None:
        self._model, self._network, self._context = model, network, context
        self.format_path("best", epoch=10**6, score=-1e6)  # refuse a too long name now, not after an epoch
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint-writer")
        self._callbacks: Sequence[keras.callbacks.Callback] = ()
        self._unfinished: list[Future[None]] = []
        self._snapshot: Snapshot | None = None

    def watch(self, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        """Saves the state of these callbacks in every file."""
        self._callbacks = callbacks

    def write(
        self,
        kind: str,
        position: Position,
        *,
        score: float,
        metrics: Mapping[str, float],
        on_written: Callable[[], None] = lambda: None,
    ) -> pathlib.Path:
        """Copies the model now, and writes a file from the copy in the background.

        Waits while a previous write has not begun yet, so that at most two copies are held.

        Args:
            kind: `best` or `last`.
            position: steps and epochs completed.
            score: value of the monitored metric in the last epoch.
            metrics: all metrics of the last epoch.
            on_written: called in the background thread when the file is complete.

        Returns:
            The path that the file will have.

        Raises:
            StoreError: a previous file could not be written.
        """
        self._finish(leave=_MOST_UNFINISHED - 1)
        path = self.format_path(kind, epoch=position.epoch, score=score)
        metadata = self._metadata(kind, position, score=score, metrics=metrics)
        snapshot = self._take_snapshot(position)
        self._unfinished.append(self._thread.submit(self._write, path, snapshot, metadata, on_written))
        return path

    def format_path(self, kind: str, *, epoch: int, score: float) -> pathlib.Path:
        """The path of a checkpoint of this run."""
        context, config = self._context, self._context.config
        fields = name_fields(
            config.flat(),
            config.selection.checkpoint_fields,
            dataset_name=context.dataset_name,
            dataset_id=context.dataset_id,
            image_size=context.input_shape[:2],
        )
        name = CheckpointName(
            fields, run=context.run.id[:8], kind=kind, epoch=epoch, monitor=config.selection.monitor, score=score
        )
        return context.run.checkpoints_folder / format_name(name)

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish(leave=0)
        except StoreError as failure:
            if err is None:
                raise
            _log.warning("%s", failure)
        finally:
            self._thread.shutdown()

    def _take_snapshot(self, position: Position) -> Snapshot:
        """The previous snapshot if no step was taken since: `best` and `last` of an epoch share one."""
        if self._snapshot is None or self._snapshot.step != position.step:
            self._snapshot = take_snapshot(self._model, position.step)
        return self._snapshot

    def _finish(self, *, leave: int) -> None:
        while len(self._unfinished) > leave:
            self._unfinished.pop(0).result()

    def _write(
        self, path: pathlib.Path, snapshot: Snapshot, metadata: Mapping[str, Any], on_written: Callable[[], None]
    ) -> None:
        try:
            described = {**metadata, "weights_digest": snapshot.digest}
            write_checkpoint(path, self._network, snapshot.weights, metadata=described, state=snapshot.state)
            on_written()
        except OSError as err:
            raise StoreError(
                f"checkpoint {path.name} cannot be written to {str(path.parent)!r}: {err}: free disk space, then "
                "resume the run from its previous checkpoint"
            ) from err

    def _metadata(self, kind: str, position: Position, *, score: float, metrics: Mapping[str, float]) -> dict[str, Any]:
        context = self._context
        return {
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "run_id": context.run.id,
            "run_name": context.run_name,
            "epoch": position.epoch,
            "step": position.step,
            "monitor": context.config.selection.monitor,
            "score": score,
            "metrics": dict(metrics),
            "config": context.config.flat(),
            "dataset_name": context.dataset_name,
            "dataset_id": context.dataset_id,
            "class_names": list(context.class_names),
            "input_shape": list(context.input_shape),
            "custom_layers": list(context.custom_layers),
            "training": {
                "stopped": self._model.stop_training,
                "callbacks": get_callback_state(self._callbacks),
            },
            "versions": dict(_versions()),
            "written": now(),
        }
