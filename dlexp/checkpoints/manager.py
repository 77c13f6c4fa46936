"""The callbacks that save checkpoints: of the best epochs so far, and of the newest state."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import keras

from dlexp.checkpoints.search import checkpoint_files
from dlexp.checkpoints.snapshot import Position
from dlexp.checkpoints.writer import CheckpointWriter
from dlexp.errors import DivergedError, TrainingError
from dlexp.models.keras_internals import loss_so_far
from dlexp.runs.run import Run


@dataclass(frozen=True)
class KeptEpoch:
    """An epoch whose checkpoint is kept.

    Attributes:
        epoch: counted from 1.
        score: its value of the monitored metric.
        file: file name of its checkpoint.
        metrics: all of its metrics.
    """

    epoch: int
    score: float
    file: str
    metrics: Mapping[str, float]


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps checkpoints of the epochs with the best values of the monitored metric; of equal values, the first wins.

    A value that is not finite is never best. The previous file is removed when the new one is complete.

    Args:
        writer: writes the files.
        run: its record gets the best epoch.
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
        """Saves the model if the epoch is one of the best so far."""
        metrics = {key: float(value) for key, value in (logs or {}).items()}
        if self.monitor not in metrics:
            raise TrainingError(
                f"monitor={self.monitor} is not among the metrics of epoch {epoch + 1}: monitor one of "
                f"{', '.join(metrics)}, or log it in on_epoch_end of a callback that is listed in --callbacks"
            )
        score = metrics[self.monitor]
        path = self._writer.format_path("best", epoch=epoch + 1, score=score)
        candidate = KeptEpoch(epoch + 1, score, path.name, metrics)
        # Sorting is stable: of equal scores the first stays first.
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
        """Restores `get_state`, so that no worse epoch becomes the best after a resume."""
        self.kept_epochs = tuple(KeptEpoch(**kept) for kept in state["kept"])

    def _record(self, kept: Sequence[KeptEpoch]) -> None:
        best = kept[0]
        file = (self._run.checkpoints_folder / best.file).relative_to(self._run.path)
        self._run.update(best_epoch=best.epoch, best_checkpoint=str(file), metrics=dict(best.metrics))
        _remove_others("best", self._run, keep={epoch.file for epoch in kept})


class LastCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keeps the newest state: saved after every epoch, every N steps, and when the training is interrupted.

    Args:
        writer: writes the files.
        run: whose checkpoints they are.
        monitor: name of the metric whose value is in the file names.
        save_every_steps: steps after which the state is also saved mid-epoch; 0: never.
    """

    def __init__(self, writer: CheckpointWriter, *, run: Run, monitor: str, save_every_steps: int = 0) -> None:
        super().__init__(str(run.checkpoints_folder / "last.keras"), monitor=monitor)
        self._writer, self._run, self._save_every_steps = writer, run, save_every_steps
        self._epoch = self._saved_step = 0
        self._end = Position()
        self._metrics: Mapping[str, float] = {}

    def continue_from(self, position: Position, *, metrics: Mapping[str, float], is_last: bool) -> None:
        """Continues from a checkpoint; called before the training begins.

        Args:
            position: of the checkpoint.
            metrics: of the last epoch before it.
            is_last: the checkpoint is a `last`. If it is a `best`, the process was killed before it wrote the `last` of
                the same epoch; that is then written at the end of the training.
        """
        self._end, self._metrics = position, metrics
        self._saved_step = position.step if is_last else 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Remembers the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves if `save_every_steps` steps have passed since the previous save."""
        position = self.position(batch)
        if self._save_every_steps and position.step - self._saved_step >= self._save_every_steps:
            self.save(position)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Saves after every epoch."""
        self._metrics = {key: float(value) for key, value in (logs or {}).items()}
        self._end = Position.at_end(epoch, self.params["steps"])
        self._write(self._end)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Saves the final state, unless it is saved already."""
        if self._saved_step != self._end.step:
            self._write(self._end)

    def position(self, batch: int) -> Position:
        """The position after `batch` steps of the current epoch, before its validation."""
        return Position(self._epoch * self.params["steps"] + batch, self._epoch)

    def save(self, position: Position) -> None:
        """Saves the model mid-epoch.

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
    """Removes superseded files of a kind, including those of a previous process."""
    for path in checkpoint_files(run):
        if path.name not in keep and f"__{kind}__" in path.name:
            path.unlink(missing_ok=True)
