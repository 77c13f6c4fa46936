"""The learning rate over the steps."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.sections import LR_SCHEDULES, OptimizationConfig
from dlexp.errors import ConfigError, UnknownNameError
from dlexp.training.schedules import WarmupThenDecay, build_schedule

STEPS_PER_EPOCH = 10
COURSES = [name for name in LR_SCHEDULES if name != "plateau"]  # which is no course, but a callback


def build_course(optimization: OptimizationConfig, *, steps_per_epoch: int) -> WarmupThenDecay:
    """The schedule, which for `plateau` is a plain number."""
    schedule = build_schedule(optimization, steps_per_epoch=steps_per_epoch)
    assert isinstance(schedule, WarmupThenDecay)
    return schedule


def rates(*steps: int, **fields: Any) -> list[float]:
    """Learning rates at some of the 100 steps of a training, as shares of the highest one."""
    optimization = OptimizationConfig(**{"epochs": 10, "learning_rate": 0.5} | fields)
    schedule = build_course(optimization, steps_per_epoch=STEPS_PER_EPOCH)
    return [float(schedule(step)) / optimization.learning_rate for step in steps]


def test_constant_never_changes() -> None:
    assert rates(0, 50, 99, lr_schedule="constant") == [1, 1, 1]


def test_cosine_falls_to_zero_at_the_end() -> None:
    expected = [1, (2 + np.sqrt(2)) / 4, 0.5, (2 - np.sqrt(2)) / 4, 0]
    assert rates(0, 25, 50, 75, 100, lr_schedule="cosine") == pytest.approx(expected, abs=1e-6)


def test_step_divides_by_ten_at_half_and_three_quarters() -> None:
    expected = [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert rates(0, 49, 50, 74, 75, 99, lr_schedule="step") == pytest.approx(expected)


def test_exponential_ends_at_one_percent() -> None:
    assert rates(0, 50, 100, lr_schedule="exponential") == pytest.approx([1, 0.1, 0.01])


def test_one_cycle_rises_for_thirty_percent_then_falls_to_zero() -> None:
    expected = [0.04 + 0.96 / 30, 0.52, 1, 0.5, 0]
    assert rates(0, 14, 30, 65, 100, lr_schedule="one_cycle") == pytest.approx(expected, abs=1e-6)


def test_warmup_sets_the_rise_of_one_cycle() -> None:
    expected = [0.05, 0.5, 1, 0.5, 0]
    fields = {"lr_schedule": "one_cycle", "warmup_epochs": 2}
    assert rates(0, 9, 20, 60, 100, **fields) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("lr_schedule", ["constant", "cosine", "step", "exponential"])
def test_warmup_rises_linearly_and_its_first_step_does_something(lr_schedule: str) -> None:
    fields = {"lr_schedule": lr_schedule, "warmup_epochs": 2.5}
    assert rates(0, 4, 19, 24, 25, **fields) == pytest.approx([0.04, 0.2, 0.8, 1, 1])


@pytest.mark.parametrize("warmup_epochs", [0.01, 0.5, 1.4])
def test_any_warmup_has_at_least_one_step(warmup_epochs: float) -> None:
    optimization = OptimizationConfig(epochs=3, warmup_epochs=warmup_epochs)
    assert build_course(optimization, steps_per_epoch=1).warmup_steps == 1


@given(
    st.sampled_from(COURSES), st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.sampled_from([0.0, 0.3, 0.9])
)
def test_extended_schedule_is_each_plan_up_to_its_end(
    lr_schedule: str, first: int, more: int, steps_per_epoch: int, warmup_epochs: float
) -> None:
    fields: dict[str, Any] = {"lr_schedule": lr_schedule, "warmup_epochs": warmup_epochs, "learning_rate": 0.5}
    short = build_course(OptimizationConfig(epochs=first, **fields), steps_per_epoch=steps_per_epoch)
    long = build_course(OptimizationConfig(epochs=first + more, **fields), steps_per_epoch=steps_per_epoch)
    extended = OptimizationConfig(epochs=first + more, extended_from=(str(first),), **fields)
    schedule = build_course(extended, steps_per_epoch=steps_per_epoch)
    break_step = first * steps_per_epoch
    for step in {0, break_step - 1, break_step, break_step + 1, (first + more) * steps_per_epoch - 1}:
        expected = short if step < break_step else long
        assert float(schedule(step)) == float(expected(step))


def test_warmup_does_not_move_the_steps_down() -> None:
    assert rates(49, 50, 75, lr_schedule="step", warmup_epochs=2) == pytest.approx([1, 0.1, 0.01])


def test_cosine_after_a_warmup_takes_the_rest_of_the_steps() -> None:
    assert rates(20, 60, 100, lr_schedule="cosine", warmup_epochs=2) == pytest.approx([1, 0.5, 0], abs=1e-6)


def test_unknown_schedule_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean cosine"):
        rates(0, lr_schedule="cosin")


@given(
    st.sampled_from(COURSES),
    st.floats(1e-7, 1e3),
    st.integers(1, 50),
    st.floats(0, 0.99),
    st.integers(1, 500),
    st.floats(0, 1.5),
)
def test_rate_is_finite_never_negative_and_never_above_the_highest(
    lr_schedule: str, learning_rate: float, epochs: int, warmup_share: float, steps_per_epoch: int, position: float
) -> None:
    optimization = OptimizationConfig(
        lr_schedule=lr_schedule, learning_rate=learning_rate, epochs=epochs, warmup_epochs=warmup_share * epochs
    )
    schedule = build_course(optimization, steps_per_epoch=steps_per_epoch)
    rate = float(schedule(int(position * epochs * steps_per_epoch)))
    assert 0 <= rate <= np.nextafter(np.float32(learning_rate), np.float32(np.inf))


@pytest.mark.parametrize("lr_schedule", COURSES)
def test_graph_and_config_round_trip_give_the_same_rates(lr_schedule: str) -> None:
    optimization = OptimizationConfig(lr_schedule=lr_schedule, warmup_epochs=1)
    schedule = build_course(optimization, steps_per_epoch=STEPS_PER_EPOCH)
    restored = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert isinstance(restored, WarmupThenDecay)
    in_graph = tf.function(restored)
    for step in (0, 5, 10, 60, 99):
        expected = pytest.approx(float(schedule(step)), abs=1e-9)
        assert float(in_graph(tf.constant(step, tf.int64))) == expected


def test_plateau_is_a_plain_number_that_a_callback_can_lower() -> None:
    assert build_schedule(OptimizationConfig(lr_schedule="plateau", learning_rate=0.5), steps_per_epoch=3) == 0.5


def test_plateau_takes_no_warmup() -> None:
    with pytest.raises(ConfigError, match="takes no warmup_epochs"):
        build_schedule(OptimizationConfig(lr_schedule="plateau", warmup_epochs=1), steps_per_epoch=3)
