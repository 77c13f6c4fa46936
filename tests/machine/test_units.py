"""Times and sizes of the flags of a sweep: what is read, what is refused, and how times are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlexp.errors import ConfigError
from dlexp.machine.units import format_bytes, format_seconds, parse_bytes, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("90s", 90), ("45m", 2700), ("2h", 7200), ("1d", 86400), ("1.5h", 5400), (" 2 H ", 7200), ("0.5s", 0.5)],
)
def test_a_time_is_read_with_its_unit(text: str, seconds: float) -> None:
    assert parse_seconds("time_budget", text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("1KiB", 1024), ("2 MiB", 2 * 2**20), ("0.5gib", 2**29), ("1TiB", 2**40)],
)
def test_a_size_in_a_binary_unit_counts_in_powers_of_1024(text: str, size: int) -> None:
    assert parse_bytes("memory_budget", text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.00 KiB"),
        (5 * 2**28, "1.25 GiB"),
        (640 * 2**20, "640 MiB"),
        (2**20 - 1, "1.00 MiB"),
        (int(9.996 * 2**30), "10.0 GiB"),
        (int(99.96 * 2**30), "100 GiB"),
        (3000 * 2**40, "3,000 TiB"),
    ],
)
def test_a_size_is_written_in_its_largest_binary_unit(size: int, text: str) -> None:
    assert format_bytes(size) == text


@given(st.integers(1024, 2**50))
def test_a_written_size_is_read_as_the_size_but_for_what_it_leaves_out(size: int) -> None:
    assert parse_bytes("memory_budget", format_bytes(size).replace(",", "")) == pytest.approx(size, rel=0.006)


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("800MB", 800_000_000), ("4gb", 4_000_000_000), ("1.5 KB", 1500), ("1TB", 10**12), ("0.0001KB", 1)],
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_bytes("trial_memory_limit", text) == size


@pytest.mark.parametrize(
    "text", ["2", "h", "2x", "4GB", "-2h", "2h 5m", "1,5h", "1e3s", "0s", "0.0h", " ", ".5h", "inf"]
)
def test_what_is_no_time_is_refused_with_the_flag_and_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_seconds("time_budget", text)
    assert str(refusal.value) == f"--time_budget={text} must be a number with a unit, such as 90s, 45m or 2h"


@pytest.mark.parametrize("text", ["4", "GB", "4G", "4Gi", "4GiBs", "GiB", "2h", "-1GB", "0MB", "9" * 400 + "GB"])
def test_what_is_no_size_is_refused_with_the_flag_and_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_bytes("trial_memory_limit", text)
    assert str(refusal.value) == f"--trial_memory_limit={text} must be a number with a unit, such as 800MB or 4GiB"


@given(st.text())
def test_any_text_is_a_size_above_0_or_is_refused(text: str) -> None:
    try:
        size = parse_bytes("trial_memory_limit", text)
    except ConfigError:
        return
    assert size > 0 or not text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (41.6, "42 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_a_time_is_written_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@given(st.integers(0, 10**7))
def test_a_written_time_is_the_time_but_for_what_it_leaves_out(seconds: int) -> None:
    words = format_seconds(seconds).split()
    units = {"s": 1, "min": 60, "h": 3600}
    reported = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert 0 <= seconds - reported < (60 if "h" in words else 1)
