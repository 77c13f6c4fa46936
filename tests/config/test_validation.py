"""Checks of values: a number is refused exactly where it is out of its range."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.config.experiment_config import ExperimentConfig, config_fields
from dlexp.config.range import Range
from dlexp.config.setting import AUTO
from dlexp.errors import ConfigError

NUMBERS = {name: field for name, field in config_fields().items() if field.metadata["range"]}


def is_out_of_range(name: str, value: float) -> bool:
    """Whether a config refuses a value by its range; what other fields make of it does not matter here."""
    try:
        ExperimentConfig.of(**{name: value})
    except ConfigError as err:
        return str(err).startswith(f"{name}=") and "is out of range" in str(err)
    return False


def ends(limits: Range) -> tuple[Any, Any]:
    return (
        limits.above if limits.at_least is None else limits.at_least,
        limits.below if limits.at_most is None else limits.at_most,
    )


def numbers_inside(limits: Range, kind: Any) -> st.SearchStrategy[float]:
    (low, high), opens, closes = ends(limits), limits.at_least is None, limits.at_most is None and limits.is_bounded
    if kind is int:
        return st.integers(low + opens, high if high is None else high - closes)
    return st.floats(low, high, exclude_min=opens, exclude_max=closes, allow_nan=False, allow_infinity=False)


def numbers_outside(limits: Range, kind: Any) -> st.SearchStrategy[float]:
    low, high = ends(limits)
    if kind is int:
        sides: list[st.SearchStrategy[float]] = [st.integers(max_value=low - 1)]
        return st.one_of(sides if high is None else [*sides, st.integers(min_value=high + 1)])
    sides = [st.floats(max_value=low, exclude_max=True), st.sampled_from([float("nan"), float("inf")])]
    return st.one_of(sides if high is None else [*sides, st.floats(min_value=high, exclude_min=True)])


@pytest.mark.parametrize("name", NUMBERS)
def test_end_of_a_range_is_accepted_only_where_the_range_holds_it(name: str) -> None:
    limits = NUMBERS[name].metadata["range"]
    low, high = ends(limits)
    assert is_out_of_range(name, low) == (limits.at_least is None)
    assert high is None or is_out_of_range(name, high) == (limits.at_most is None)


@pytest.mark.parametrize("name", NUMBERS)
@given(data=st.data())
def test_number_is_refused_exactly_where_it_is_out_of_range(name: str, data: st.DataObject) -> None:
    limits, kind = NUMBERS[name].metadata["range"], NUMBERS[name].type
    assert not is_out_of_range(name, data.draw(numbers_inside(limits, kind)))
    outside = data.draw(numbers_outside(limits, kind))
    assert is_out_of_range(name, outside) or (NUMBERS[name].metadata["auto"] and outside == AUTO)


def test_auto_is_accepted_in_place_of_a_number_that_dlexp_can_choose() -> None:
    data = ExperimentConfig.of(batch_size="auto", micro_batch_size="auto").data
    assert (data.batch_size, data.micro_batch_size) == (AUTO, AUTO)
    with pytest.raises(ConfigError, match="config field epochs must be int, but is 'auto'"):
        ExperimentConfig.of(epochs="auto")


def test_micro_batch_larger_than_the_batch_is_refused() -> None:
    assert ExperimentConfig.of(batch_size=8, micro_batch_size=8).data.micro_batch_size == 8
    with pytest.raises(ConfigError, match="micro_batch_size=9 is more than batch_size=8: leave it out"):
        ExperimentConfig.of(batch_size=8, micro_batch_size=9)
