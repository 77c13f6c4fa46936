"""Measures a training and records the points."""

import math
import time
from collections.abc import Mapping
from typing import Any

import keras

from dlexp.machine.load import LoadMeter
from dlexp.models.keras_internals import count_updates, metrics_so_far, skips_updates, steps_per_call
from dlexp.runs.metric_names import ON_WHOLE_SPLITS
from dlexp.runs.points import PointLog, make_points
from dlexp.tracking.base import Tracker
from dlexp.training.data_clock import DataClock
from dlexp.training.gradients import GradientWatch, weight_norm
from dlexp.training.step_counter import StepCounter

_STEPS = "steps/"


class PointLogger(keras.callbacks.Callback):
    """Records measurements in `metrics.jsonl` and the trackers, after every epoch and every `every_steps` steps.

    After an epoch: Keras' metrics; `learning_rate`, which the next step will use; `gradient_norm` (global, before
    clipping) of the last step; `weight_norm`; under mixed_float16 `skipped_updates`, the number of steps so far whose
    gradients overflowed, for which `gradient_norm` is infinite; `images_per_second`, `epoch_seconds` and `step_seconds`
    of the training, without validation; `data_wait_seconds`, how long the training waited for batches; and `load/*`
    since the previous point, see `LoadMeter`.

    Within an epoch: `load/*`, and the others with the prefix `steps/`: metrics of the epoch so far, times since the
    previous point of this kind.

    Args:
        log: the points of the run.
        tracker: receives the new points.
        images_per_epoch: training examples in an epoch.
        gradients: records the gradients of the training.
        clock: measures how long the training waits for data.
        steps: counts the training steps.
        every_steps: steps between two points within an epoch; 0: none.
    """

    def __init__(
        self,
        log: PointLog,
        tracker: Tracker,
        *,
        images_per_epoch: int,
        gradients: GradientWatch,
        clock: DataClock,
        steps: StepCounter,
        every_steps: int = 0,
    ) -> None:
        super().__init__()
        self._log, self._tracker, self._images_per_epoch = log, tracker, images_per_epoch
        self._gradients, self._clock, self._steps, self._every_steps = gradients, clock, steps, every_steps
        self._previous_gradient_norm = math.nan
        self._load = LoadMeter()
        self._epoch, self._train_seconds = 0, 0.0
        self._epoch_start = self._step_start = (0.0, 0, 0.0)  # see _read_clocks

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Starts the clocks."""
        self._epoch, self._train_seconds = epoch, 0.0
        self._epoch_start = self._step_start = self._read_clocks()

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Records the steps before this one, if a point is due."""
        step = self._epoch * self.params["steps"] + batch
        if batch and self._is_due(step):
            metrics = metrics_so_far(self.model).items()
            measured = {key: value for key, value in metrics if key not in ON_WHOLE_SPLITS}
            self._write(self._values_of_steps(measured), step=step, epoch=self._epoch + 1)

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Stops the clock: what follows is validation."""
        self._train_seconds = time.perf_counter() - self._epoch_start[0]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Records the epoch."""
        logs = logs or {}
        step = self._steps.taken()
        values = {}
        if self._is_due(step):
            values = self._values_of_steps({key: value for key, value in logs.items() if not key.startswith("val_")})
        self._write(values | dict(logs) | self._values_of_epoch(step), step=step, epoch=epoch + 1)

    def get_state(self) -> dict[str, Any]:
        """The gradient norm: a resume after the last step of an epoch takes no step that would compute it."""
        return {"gradient_norm": self._gradient_norm()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores `get_state`."""
        self._previous_gradient_norm = state["gradient_norm"]

    def _is_due(self, step: int) -> bool:
        every, previous = self._every_steps, step - steps_per_call(self.model)
        return bool(every and step // every > previous // every)

    def _values_of_epoch(self, step: int) -> dict[str, float]:
        started, first_step, waited = self._epoch_start
        seconds, steps = self._train_seconds or time.perf_counter() - started, step - first_step
        values = self._norms_and_rate()
        if steps:  # fewer than an epoch has, even 0, if a previous process began it
            values |= self._times(seconds, steps, waited)
        if steps == self.params["steps"]:
            values["epoch_seconds"] = seconds
        return values

    def _values_of_steps(self, metrics: Mapping[str, float]) -> dict[str, float]:
        started, first_step, waited = self._step_start
        self._step_start = self._read_clocks()
        seconds, steps = self._step_start[0] - started, self._step_start[1] - first_step
        values = {**metrics, **self._norms_and_rate()}
        if steps:
            values |= self._times(seconds, steps, waited)
        return {f"{_STEPS}{name}": value for name, value in values.items()}

    def _times(self, seconds: float, steps: int, waited: float) -> dict[str, float]:
        images = steps / self.params["steps"] * self._images_per_epoch
        return {
            "images_per_second": images / seconds,
            "step_seconds": seconds / steps,
            "data_wait_seconds": self._clock.seconds() - waited,
        }

    def _norms_and_rate(self) -> dict[str, float]:
        values = {
            "learning_rate": float(self.model.optimizer.learning_rate.numpy()),
            "weight_norm": weight_norm(self.model),
        }
        if skips_updates(self.model.optimizer):
            values["skipped_updates"] = self._steps.taken() - count_updates(self.model.optimizer)
        norm = self._gradient_norm()
        return values if math.isnan(norm) else values | {"gradient_norm": norm}

    def _gradient_norm(self) -> float:
        norm = self._gradients.norm()
        return self._previous_gradient_norm if math.isnan(norm) else norm

    def _read_clocks(self) -> tuple[float, int, float]:
        """Time in seconds, steps taken, and seconds waited for data."""
        return time.perf_counter(), self._steps.taken(), self._clock.seconds()

    def _write(self, values: Mapping[str, float], *, step: int, epoch: int) -> None:
        points = make_points({**values, **self._load.read()}, step=step, epoch=epoch)
        self._tracker.log_points(self._log.append(points))
