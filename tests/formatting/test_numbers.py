from __future__ import annotations

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.formatting.numbers import (
    format_bytes,
    format_count,
    format_ns,
    format_plural,
    format_time,
    format_us_exact,
)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "–"),
        (0, "0"),
        (1, "1 ns"),
        (850, "850 ns"),
        (999, "999 ns"),
        (999.7, "1.00 µs"),
        (1_000, "1.00 µs"),
        (9_994, "9.99 µs"),
        (9_996, "10.0 µs"),
        (12_340, "12.3 µs"),
        (99_960, "100 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (1_240_911, "1.24 ms"),
        (2_000_000_000, "2.00 s"),
        (3_600_000_000_000, "3,600 s"),
        (-5_512, "−5.51 µs"),
        (0.5, "0.50 ns"),
    ],
)
def test_format_ns(ns: float | None, text: str) -> None:
    assert format_ns(ns) == text


@drawn(100)
@given(st.integers(1, 10**13))
def test_three_significant_digits_are_right(ns: int) -> None:
    number, unit = format_ns(ns).split()
    scale = {"ns": 1, "µs": 10**3, "ms": 10**6, "s": 10**9}[unit]
    assert abs(float(number.replace(",", "")) * scale - ns) <= ns * 0.005 + 1e-6
    assert len(number) <= 6


@drawn(100)
@given(st.integers(-(10**12), 10**12))
def test_exact_microseconds_lose_nothing(ns: int) -> None:
    text = format_us_exact(ns).replace(",", "").replace("−", "-")
    whole, rest = text.split(".")
    assert int(whole + rest) == ns


def test_sizes_counts_and_plurals() -> None:
    assert (format_bytes(0), format_bytes(98), format_bytes(21_340)) == ("0 B", "98 B", "21.3 kB")
    assert format_bytes(999_999) == "1.00 MB"
    assert (format_count(1_234_567), format_count(None)) == ("1,234,567", "–")
    assert format_plural(1, "echo") == "1 echo"
    assert format_plural(20, "echo") == "20 echoes"
    assert format_plural(1_200, "frame") == "1,200 frames"
    assert format_plural(2, "match") == "2 matches"


def test_time_is_utc_with_microseconds() -> None:
    assert format_time(1_763_900_000_123_456_789) == "2025-11-23 12:13:20.123456 UTC"
    assert format_time(None) == "–"
