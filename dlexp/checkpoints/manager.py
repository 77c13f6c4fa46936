"""When checkpoints are written: the best epochs so far, and the last moment."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras

from dlexp.checkpoints.search import checkpoint_files
from dlexp.checkpoints.snapshot import Position
from dlexp.checkpoints.writer import CheckpointWriter
from dlexp.errors import DivergedError
from dlexp.models.keras_internals import loss_so_far
from dlexp.runs.run import Run


@dataclass(frozen=True)
class KeptEpoch:
    """An epoch whose checkpoint is kept.

    Attributes:
        epoch: counted from 1.
        score: its value of the monitored metric.
        file: name of its checkpoint.
        metrics: all of its metrics.
    """

    epoch: int
    score: float
    file: str
    metrics: Mapping[str, float]


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps the models of the epochs with the best monitored values so far; the first of equal ones is the better.

    A value that is not finite is never best. A former file goes after the new one stands.

    Args:
        writer: writes the files.
        run: whose record tells of the best epoch.
        monitor: name of the metric.
        mode: `min` or `max`.
        keep_top: how many epochs are kept.

    Attributes:
        kept_epochs: the best first; empty before the first epoch.
    """

    def __init__(self, writer: CheckpointWriter, *, run: Run, monitor: str, mode: str, keep_top: int = 1) -> None:
        super().__init__(str(run.checkpoints_folder / "best.keras"), monitor=monitor, mode=mode, save_best_only=True)
        self._writer, self._run, self._keep_top = writer, run, keep_top
        self._sign = -1 if mode == "max" else 1
        self.kept_epochs: Sequence[KeptEpoch] = ()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves if the epoch is one of the best so far."""
        metrics = {key: float(value) for key, value in (logs or {}).items()}
        score = metrics[self.monitor]
        path = self._writer.format_path("best", epoch=epoch + 1, score=score)
        candidate = KeptEpoch(epoch + 1, score, path.name, metrics)
        # Sorting is stable: of equal ones the first stays first.
        ranked = sorted([*self.kept_epochs, candidate], key=lambda kept: self._sign * kept.score)
        if not math.isfinite(score) or candidate in ranked[self._keep_top :]:
            return
        self.kept_epochs = ranked[: self._keep_top]
        position = Position.at_end(epoch, self.params["steps"])
        on_written = partial(self._record, tuple(self.kept_epochs))
        self._writer.write("best", position, score=score, metrics=metrics, on_written=on_written)

    def get_state(self) -> dict[str, Any]:
        """The kept epochs, for `set_state` after a resume."""
        return {"kept": [asdict(kept) for kept in self.kept_epochs]}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `get_state`, so that a worse epoch after a resume is not taken for the best."""
        self.kept_epochs = tuple(KeptEpoch(**kept) for kept in state["kept"])

    def _record(self, kept: Sequence[KeptEpoch]) -> None:
        best = kept[0]
        file = (self._run.checkpoints_folder / best.file).relative_to(self._run.path)
        self._run.update(best_epoch=best.epoch, best_checkpoint=str(file), metrics=dict(best.metrics))
        _remove_others("best", self._run, keep={epoch.file for epoch in kept})


class LastCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps the newest model: after every epoch, every so many steps, and when the training is interrupted.

    Args:
        writer: writes the files.
        run: whose checkpoints they are.
        monitor: name of the metric that the file names tell.
        save_every_steps: also save in the midst of an epoch, so many steps after the last save; 0: never.
    """

    def __init__(self, writer: CheckpointWriter, *, run: Run, monitor: str, save_every_steps: int = 0) -> None:
        super().__init__(str(run.checkpoints_folder / "last.keras"), monitor=monitor)
        self._writer, self._run, self._save_every_steps = writer, run, save_every_steps
        self._epoch = self._saved_step = 0
        self._end = Position()
        self._metrics: Mapping[str, float] = {}

    def continue_from(self, position: Position, *, metrics: Mapping[str, float], is_last: bool) -> None:
        """Takes up from a checkpoint, before the training begins.

        Args:
            position: of the checkpoint.
            metrics: of the last epoch before it.
            is_last: it is a `last`; after a `best`, whose `last` was never written, that is made good at the end.
        """
        self._end, self._metrics = position, metrics
        self._saved_step = position.step if is_last else 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves if it is time to."""
        position = self.position(batch)
        if self._save_every_steps and position.step - self._saved_step >= self._save_every_steps:
            self.save(position)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves every epoch."""
        self._metrics = {key: float(value) for key, value in (logs or {}).items()}
        self._end = Position.at_end(epoch, self.params["steps"])
        self._write(self._end)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Saves the end, unless that was done."""
        if self._saved_step != self._end.step:
            self._write(self._end)

    def position(self, batch: int) -> Position:
        """Where the training is after so many steps of the present epoch, which is not validated yet."""
        return Position(self._epoch * self.params["steps"] + batch, self._epoch)

    def save(self, position: Position) -> None:
        """Saves the model as it is in the midst of an epoch.

        Raises:
            DivergedError: the loss of the epoch so far is not finite; nothing is saved.
        """
        if not math.isfinite(loss_so_far(self.model)):
            raise DivergedError(position.step)
        self._write(position)

    def _write(self, position: Position) -> None:
        score = self._metrics.get(self.monitor, math.nan)
        path = self._writer.format_path("last", epoch=position.epoch, score=score)
        self._saved_step = position.step
        on_written = partial(_remove_others, "last", self._run, keep={path.name})
        self._writer.write("last", position, score=score, metrics=self._metrics, on_written=on_written)


def _remove_others(kind: str, run: Run, *, keep: Set[str]) -> None:
    """Removes the files of a kind that a newer one stands for, those of a process before this one too."""
    for path in checkpoint_files(run):
        if path.name not in keep and f"__{kind}__" in path.name:
            path.unlink(missing_ok=True)
