"""Learning rate schedules: a warm-up, then a decay."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from dlexp.config.sections import OptimizationConfig
from dlexp.errors import ConfigError, unknown_name
from dlexp.models.keras_internals import OWN_PREFIX
from dlexp.training.step_counter import StepCounter

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25


def build_schedule(
    optimization: OptimizationConfig, *, steps_per_epoch: int, steps: StepCounter | None = None
) -> "WarmupThenDecay | float":
    """Builds the schedule of a config; for `plateau`, a plain number, which `ReduceLROnPlateau` lowers.

    `one_cycle` (Smith and Topin, "Super-Convergence", 2018, https://arxiv.org/abs/1708.07120) is a rise over the first
    30 % of the steps, from 1/25 of the learning rate, then a cosine to 0; with `warmup_epochs`, that warm-up
    replaces the rise.

    The first step of a warm-up is already above its start, so that no step is lost. A training that was extended
    follows the schedule that it was planned with up to the end of that plan, see `extended_from`.

    Args:
        optimization: epochs, extended_from, learning_rate, lr_schedule and warmup_epochs are read.
        steps_per_epoch: training steps in an epoch.
        steps: see `WarmupThenDecay`.

    Raises:
        UnknownNameError: no such lr_schedule.
        ConfigError: a warm-up before `plateau`.
    """
    if optimization.lr_schedule == "plateau":
        if optimization.warmup_epochs:
            raise ConfigError(
                f"lr_schedule=plateau takes no warmup_epochs (it is {optimization.warmup_epochs:g}): leave it out, or "
                "choose another schedule"
            )
        return optimization.learning_rate
    plans = [epochs * steps_per_epoch for epochs in (*map(int, optimization.extended_from), optimization.epochs)]
    warmup_steps = _warmup_steps(optimization.warmup_epochs, steps_per_epoch)
    warmups, decay, start = [warmup_steps] * len(plans), optimization.lr_schedule, 0.0
    if decay == "one_cycle":
        decay = "cosine"
        if warmup_steps == 0:
            warmups, start = [round(_ONE_CYCLE_RISE * steps) for steps in plans], _ONE_CYCLE_START
    if decay not in _DECAYS:
        raise unknown_name("lr_schedule", decay, [*_DECAYS, "one_cycle", "plateau"])
    *earlier, (total_steps, warmup_steps) = zip(plans, warmups, strict=True)
    return WarmupThenDecay(
        optimization.learning_rate,
        decay,
        total_steps=total_steps,
        warmup_steps=warmup_steps,
        warmup_start=start,
        steps=steps,
        earlier_plans=earlier,
    )


def _warmup_steps(epochs: float, steps_per_epoch: int) -> int:
    """At least one step for any warm-up."""
    return max(1, round(epochs * steps_per_epoch)) if epochs else 0


@keras.saving.register_keras_serializable(package="dlexp")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to `learning_rate`, then follows `decay`; computed in the graph, from the step.

    Args:
        learning_rate: highest value, reached at the last step of the warm-up.
        decay: "constant"; "cosine", to 0 at the end (Loshchilov and Hutter, https://arxiv.org/abs/1608.03983, without
            restarts); "step", times 0.1 at 50 % and again at 75 % of all steps (He et al.,
            https://arxiv.org/abs/1512.03385); "exponential", to 1 % at the end.
        total_steps: steps of the whole training; later steps get the last value.
        warmup_steps: steps of the rise; 0 for none.
        warmup_start: fraction of `learning_rate` that the rise starts from; step 0 is already above it.
        steps: counts the steps of the training. The schedule then follows this count and not the number that the
            optimizer passes, which leaves out the updates that mixed_float16 skips. It is no part of the config.
        earlier_plans: pairs of `total_steps` and `warmup_steps` that the training was planned with, the shortest first;
            each holds up to its last step.
    """

    def __init__(
        self,
        learning_rate: float,
        decay: str,
        *,
        total_steps: int,
        warmup_steps: int = 0,
        warmup_start: float = 0.0,
        steps: StepCounter | None = None,
        earlier_plans: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        # A variable, so that its value can change after tracing.
        self._highest = keras.Variable(
            learning_rate, dtype="float32", trainable=False, name=f"{OWN_PREFIX}highest_rate"
        )
        self.decay = decay
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.warmup_start = warmup_start
        self._steps = steps
        self.earlier_plans = [tuple(plan) for plan in earlier_plans]

    def __call__(self, step: Any) -> Any:
        """The learning rate at a step counted from 0, as a `float32` scalar."""
        # Keras evaluates the schedule once per decayed variable: a constant rate should not add operations each time.
        if self.decay == "constant" and self.warmup_steps == 0:
            return ops.convert_to_tensor(self._highest, "float32")
        step = ops.cast(step if self._steps is None else self._steps.tensor(), "float32")
        factor = self._factor(step, self.total_steps, self.warmup_steps)
        for total_steps, warmup_steps in reversed(self.earlier_plans):
            factor = ops.where(step < total_steps, self._factor(step, total_steps, warmup_steps), factor)
        return self._highest * factor

    def _factor(self, step: Any, total_steps: int, warmup_steps: int) -> Any:
        """The share of the highest learning rate at a step of a plan."""
        # Progress of the step decay is counted from step 0, of the others from the end of the warm-up.
        decay_start = 0 if self.decay == "step" else warmup_steps
        progress = (step - decay_start) / max(total_steps - decay_start, 1)
        factor = _DECAYS[self.decay](ops.clip(progress, 0.0, 1.0))
        if warmup_steps:
            rise = self.warmup_start + (1 - self.warmup_start) * (step + 1) / warmup_steps
            factor = ops.where(step < warmup_steps, rise, factor)
        return factor

    @property
    def learning_rate(self) -> float:
        """The highest value."""
        return float(self._highest.numpy())

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._highest.assign(value)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            "learning_rate": self.learning_rate,
            "decay": self.decay,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "warmup_start": self.warmup_start,
            "earlier_plans": self.earlier_plans,
        }


def _keep(progress: Any) -> Any:
    return ops.ones_like(progress)


def _follow_cosine(progress: Any) -> Any:
    return 0.5 * (1 + ops.cos(math.pi * progress))


def _step_down(progress: Any) -> Any:
    return ops.where(progress < 0.5, 1.0, ops.where(progress < 0.75, 0.1, 0.01))


def _shrink_exponentially(progress: Any) -> Any:
    return ops.power(0.01, progress)


_DECAYS: dict[str, Callable[[Any], Any]] = {
    "constant": _keep,
    "cosine": _follow_cosine,
    "step": _step_down,
    "exponential": _shrink_exponentially,
}
