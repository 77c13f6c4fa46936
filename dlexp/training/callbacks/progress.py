"""Shows the progress of a training: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dlexp.config.experiment_config import ExperimentConfig
from dlexp.datasets import Dataset, Datasets
from dlexp.datasets.inspection.description import describe_dataset, describe_in_lines
from dlexp.datasets.sources.left_out import KINDS

_SECONDS_BETWEEN_UPDATES = 0.1


def build_progress(config: ExperimentConfig, datasets: Datasets) -> "Display":
    """The display for `--verbose`: nothing for 0, lines for 2; for 1, a bar if stderr is a terminal, else lines."""
    if config.execution.verbose == 0:
        return Display()
    display = ProgressBar if config.execution.verbose == 1 and sys.stderr.isatty() else ProgressLines
    return display(
        epochs=config.optimization.epochs,
        steps_per_epoch=datasets.steps_per_epoch,
        images_per_epoch=datasets.examples_per_epoch,
    )


def print_dataset(dataset: Dataset) -> None:
    """Prints to stderr what a training sees: counts and shares by class, split and source."""
    description = describe_dataset(dataset)
    notes = {kind: counts for kind, counts in description["left_out_by_kind"].items() if KINDS[kind].severity == "note"}
    # Of the other kinds, the preparation of the training has warned.
    print("\n".join(describe_in_lines(description | {"left_out_by_kind": notes})), file=sys.stderr)


class Display(keras.callbacks.Callback):
    """Shows nothing; the base class of the displays."""

    def close(self) -> None:
        """Restores the terminal, after a failed training too; may be called twice."""


class ProgressLines(Display):
    """One line on stderr per epoch: epoch, seconds, images/s and metrics."""

    def __init__(self, *, epochs: int, steps_per_epoch: int, images_per_epoch: int) -> None:
        super().__init__()
        self.epochs, self.steps_per_epoch, self.images_per_epoch = epochs, steps_per_epoch, images_per_epoch
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clock."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Prints the line."""
        self.print_line(f"epoch {epoch + 1}/{self.epochs}  {self.summarize(logs or {})}")

    def summarize(self, logs: Mapping[str, float]) -> str:
        """Seconds, images/s (validation included) and metrics of the epoch, as text."""
        seconds = time.perf_counter() - self._started
        return f"{seconds:.1f} s  {self.images_per_epoch / seconds:,.0f} images/s  {format_metrics(logs)}"

    def print_line(self, line: str) -> None:
        """Writes one line to stderr at once."""
        print(line, file=sys.stderr, flush=True)


class ProgressBar(ProgressLines):
    """A bar on stderr: epoch, step, images/s, metrics, time left for the whole training; above it a line per epoch."""

    def __init__(self, *, epochs: int, steps_per_epoch: int, images_per_epoch: int) -> None:
        super().__init__(epochs=epochs, steps_per_epoch=steps_per_epoch, images_per_epoch=images_per_epoch)
        self._epoch, self._next_update = 0, 0.0
        columns = (
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=20),
            TextColumn("step {task.fields[step]}/{task.fields[steps]}"),
            TextColumn("{task.fields[speed]}  {task.fields[metrics]}"),
            TimeRemainingColumn(compact=True),
        )
        self._console = Console(stderr=True)
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task(
            "", total=self.epochs * self.steps_per_epoch, epoch=1, epochs=self.epochs,
            step=0, steps=self.steps_per_epoch, speed="", metrics="",
        )  # fmt: skip

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Shows the bar."""
        self._progress.start()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clock."""
        super().on_epoch_begin(epoch)
        self._epoch = epoch
        self._update(0, {})

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Moves the bar, at most ten times a second."""
        if time.perf_counter() >= self._next_update:
            self._next_update = time.perf_counter() + _SECONDS_BETWEEN_UPDATES
            self._update(batch + 1, logs or {})

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Leaves a line for the epoch above the bar."""
        super().on_epoch_end(epoch, logs)
        self._update(self.steps_per_epoch, {})

    def close(self) -> None:
        """Removes the bar."""
        if self._progress.live.is_started:
            self._progress.stop()

    def print_line(self, line: str) -> None:
        """Writes one line above the bar."""
        self._console.print(line, markup=False, highlight=False)

    def _update(self, step: int, logs: Mapping[str, Any]) -> None:
        seconds = time.perf_counter() - self._started
        images = self.images_per_epoch * step / self.steps_per_epoch
        self._progress.update(
            self._task,
            completed=self._epoch * self.steps_per_epoch + step,
            epoch=self._epoch + 1,
            step=step,
            speed=f"{images / seconds:,.0f} images/s" if step else "",
            metrics=format_metrics(logs),
        )


def format_metrics(logs: Mapping[str, Any]) -> str:
    """`loss 0.1234  accuracy 0.9876`."""
    return "  ".join(f"{key} {float(value):.4f}" for key, value in logs.items())
