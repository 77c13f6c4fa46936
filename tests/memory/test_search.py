"""The search for the largest batch: it never settles on a batch that does not fit, and needs three probes on a line."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.memory.messages import ProbeReport
from dlexp.memory.prober import Outcome, Probe
from dlexp.memory.search import Search
from dlexp.memory.sizes import Sizes

GIB = 2**30
MIB = 2**20


def searched(
    peak_at: Callable[[int], float],
    *,
    usable: float = GIB,
    limit: float = 1.1 * GIB,
    most: int = 100_000,
    multiple_of: int = 8,
    estimate: float = 0.0,
    end_at: Callable[[int], float] = lambda size: 0.0,
) -> Search:
    """Searches with probes that follow a function from batch size to bytes, and are killed above the limit."""

    def measure(size: int, is_whole: bool) -> Probe:
        training = peak_at(size)
        whole = max(training, end_at(size)) if is_whole else training
        if whole > limit:
            return Probe(outcome=Outcome.NO_MEMORY, peak_bytes=int(limit), reason="killed", report=None, seconds=1.0)
        report = ProbeReport(
            training_bytes=int(training),
            whole_bytes=int(whole),
            is_training_only=not is_whole,
            images_per_second=10.0,
            num_parameters=1,
            estimated_bytes=0,
            estimated_bytes_per_example=int(estimate),
        )
        return Probe(outcome=Outcome.MEASURED, peak_bytes=int(whole), reason="", report=report, seconds=1.0)

    search = Search(measure, Sizes(most=most, multiple_of=multiple_of), usable)
    search.run()
    return search


def largest_that_fits(search: Search, peak_at: Callable[[int], float]) -> int | None:
    return max((size for size in search.sizes if peak_at(size) <= search.usable_bytes), default=None)


@given(fixed=st.floats(0.1, 0.5), slope=st.floats(0.2, 1), error=st.floats(0.75, 1.4), end=st.floats(10, 33))
def test_line_is_found_with_two_probes_and_a_confirmation(fixed: float, slope: float, error: float, end: float) -> None:
    def whole_at(size: int) -> float:
        return fixed * GIB + slope * MIB * size + end * MIB

    search = searched(lambda size: whole_at(size) - end * MIB, estimate=error * slope * MIB, end_at=whole_at)
    best = largest_that_fits(search, whole_at)
    assert best is not None
    assert search.largest is not None
    assert search.predicted_bytes is not None
    assert 0.9 * best - 8 <= search.largest <= best
    assert search.predicted_bytes == pytest.approx(whole_at(search.largest), rel=0.03)
    assert search.count <= 3


@given(fixed=st.floats(0.1, 0.9), slope=st.floats(0.2, 20), error=st.floats(0.5, 1.4))
def test_batch_on_a_line_is_at_least_nine_tenths_of_the_largest(fixed: float, slope: float, error: float) -> None:
    def peak_at(size: int) -> float:
        return fixed * GIB + slope * MIB * size

    search = searched(peak_at, estimate=error * slope * MIB)
    best = largest_that_fits(search, peak_at)
    assert (search.largest is None) == (best is None)
    if best is not None and search.largest is not None and best >= 64:
        assert 0.9 * best - 8 <= search.largest <= best + 8


def test_power_of_two_that_fits_without_doubt_by_the_estimate_is_confirmed_at_once() -> None:
    search = searched(lambda size: 0.5 * GIB + MIB * size, multiple_of=0, estimate=MIB)
    assert (search.largest, search.count) == (256, 2)


def test_power_of_two_that_an_estimate_promises_too_lightly_is_replaced() -> None:
    search = searched(lambda size: 0.5 * GIB + 2.2 * MIB * size, multiple_of=0, estimate=MIB)
    assert (search.largest, list(search.probes)) == (128, [8, 256, 128])


@given(
    fixed=st.floats(0.1, 1.2),
    slopes=st.lists(st.floats(0, 20), min_size=1, max_size=4),
    kinks=st.lists(st.integers(1, 2000), min_size=3, max_size=3),
    noise=st.integers(0, 2**32 - 1),
    most=st.integers(1, 5000),
    multiple_of=st.sampled_from([0, 1, 8, 10, 64]),
    estimate=st.floats(0, 40),
    end=st.floats(0, 1.2),
)
def test_chosen_batch_always_fits_whatever_the_memory_does(
    fixed: float,
    slopes: list[float],
    kinks: list[int],
    noise: int,
    most: int,
    multiple_of: int,
    estimate: float,
    end: float,
) -> None:
    def peak_at(size: int) -> float:
        bent = sum(slope * max(0, size - kink) for slope, kink in zip(slopes, [0, *kinks], strict=False))
        return fixed * GIB + bent * MIB + hash((noise, size)) % (4 * MIB)

    search = searched(
        peak_at, most=most, multiple_of=multiple_of, estimate=estimate * MIB, end_at=lambda size: end * GIB
    )
    assert search.count <= 10
    if search.largest is not None:
        assert max(peak_at(search.largest), end * GIB) <= search.usable_bytes
        assert search.largest in search.sizes
    elif end < 0.9:
        assert peak_at(1) > search.usable_bytes or search.count == 10


@given(fixed=st.floats(0.1, 0.8), slope=st.floats(0.5, 20), bend=st.floats(0.5, 4))
def test_bent_line_is_followed_to_nine_tenths_of_the_largest(fixed: float, slope: float, bend: float) -> None:
    kink = 0.5 * (GIB - fixed * GIB) / (slope * MIB)

    def peak_at(size: int) -> float:
        return fixed * GIB + slope * MIB * (min(size, kink) + bend * max(0, size - kink))

    search = searched(peak_at, multiple_of=1, estimate=slope * MIB)
    best = largest_that_fits(search, peak_at)
    assert best is not None
    assert search.largest is not None
    assert search.largest >= 0.9 * best - 1


def test_small_batches_with_equal_peaks_do_not_mislead() -> None:
    """Below a batch of 100 the peak is that of a step between epochs."""
    search = searched(lambda size: max(0.5 * GIB, 0.4 * GIB + MIB * size), estimate=0.8 * MIB)
    assert search.largest is not None
    assert 0.9 * 614 <= search.largest <= 614
    assert search.count <= 5


def test_training_set_that_fits_as_a_whole_needs_two_probes() -> None:
    search = searched(lambda size: 0.5 * GIB + 100 * size, most=1257, multiple_of=0, estimate=100)
    assert (search.largest, search.count) == (1024, 2)


def test_end_of_a_run_with_the_higher_peak_limits_the_batch() -> None:
    search = searched(lambda size: 0.2 * GIB + MIB * size, end_at=lambda size: 0.3 * GIB + 2 * MIB * size)
    assert search.largest is not None
    assert 300 <= search.largest <= 358


def test_first_batch_that_leaves_no_room_for_the_end_of_the_run_is_the_largest_probe() -> None:
    search = searched(lambda size: GIB - 30 * MIB + 2 * MIB * size, estimate=2 * MIB)
    assert max(search.probes) == 8
    assert search.largest == 8


def test_model_that_does_not_fit_with_one_example_has_no_batch() -> None:
    search = searched(lambda size: 2 * GIB + MIB * size)
    assert (search.largest, list(search.probes)) == (None, [8, 1])


def test_probe_that_fails_ends_the_search() -> None:
    failed = Probe(outcome=Outcome.FAILED, peak_bytes=0, reason="model x needs larger images", report=None, seconds=1.0)
    search = Search(lambda size, whole: failed, Sizes(most=100), GIB)
    search.run()
    assert (search.largest, search.count, search.failure) == (None, 1, "model x needs larger images")
