"""Batch sizes that may be chosen: powers of two, or multiples of a number."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.memory.sizes import Sizes

SIZES = st.builds(Sizes, most=st.integers(1, 3000), multiple_of=st.sampled_from([0, 1, 2, 3, 8, 10, 64, 5000]))


def is_allowed(size: int, multiple_of: int) -> bool:
    is_power = size & (size - 1) == 0
    return (size % multiple_of == 0 or (is_power and size < multiple_of)) if multiple_of else is_power


@given(SIZES)
def test_sizes_are_exactly_those_that_are_allowed(sizes: Sizes) -> None:
    allowed = [size for size in range(1, sizes.most + 1) if is_allowed(size, sizes.multiple_of)]
    assert list(sizes) == allowed


@given(SIZES, st.floats(-5, 4000))
def test_size_up_to_a_limit_is_the_largest_one(sizes: Sizes, limit: float) -> None:
    assert sizes.at_most(limit) == max((size for size in sizes if size <= limit), default=None)


@given(SIZES)
def test_sizes_up_to_infinity_end_at_the_largest(sizes: Sizes) -> None:
    assert sizes.at_most(float("inf")) == max(sizes)


@given(SIZES)
def test_next_size_is_the_next_of_all(sizes: Sizes) -> None:
    everything = list(sizes)
    for size, following in itertools.pairwise(everything):
        assert sizes.above(size) == following
    assert sizes.above(everything[-1]) is None


@given(SIZES, st.data())
def test_size_between_two_others_is_neither_of_them_and_found_if_there_is_one(
    sizes: Sizes, data: st.DataObject
) -> None:
    everything = list(sizes)
    low = data.draw(st.sampled_from(everything))
    high = data.draw(st.sampled_from([size for size in everything if size >= low]))
    inner = [size for size in everything if low < size < high]
    middle = sizes.between(low, high)
    assert middle in inner if inner else middle is None


@pytest.mark.parametrize(("limit", "powers", "multiples"), [(700, 512, 696), (7.9, 4, 4), (8, 8, 8), (0.9, None, None)])
def test_powers_of_two_and_multiples_of_eight(limit: float, powers: int | None, multiples: int | None) -> None:
    assert Sizes(most=1000).at_most(limit) == powers
    assert Sizes(most=1000, multiple_of=8).at_most(limit) == multiples
