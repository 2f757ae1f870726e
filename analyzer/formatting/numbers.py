"""Numbers for people: durations, sizes, counts and times, formatted in this one place."""

from __future__ import annotations

from datetime import UTC, datetime

NONE = "–"
"""stands for None: not known or not applicable"""
_TIMES = ((1, "ns"), (1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s"))
_SIZES = ((1, "B"), (1_000, "kB"), (10**6, "MB"), (10**9, "GB"), (10**12, "TB"))


def format_ns(ns: float | None) -> str:
    """Nanoseconds with three significant digits: ``0``, ``850 ns``, ``12.3 µs``, ``2.00 s``."""
    if ns is None:
        return NONE
    return "0" if ns == 0 else _scaled(ns, _TIMES)


def format_us_exact(ns: int | None) -> str:
    """Nanoseconds as microseconds with all their digits, without the unit: ``109.912``."""
    if ns is None:
        return NONE
    sign = "−" if ns < 0 else ""
    return f"{sign}{abs(ns) // 1000:,}.{abs(ns) % 1000:03d}"


def format_bytes(size: int | None) -> str:
    """Bytes with three significant digits and decimal units: ``98 B``, ``12.3 kB``."""
    return NONE if size is None else _scaled(size, _SIZES)


def format_count(count: int | None) -> str:
    """A count with separators: ``1,234,567``."""
    return NONE if count is None else f"{count:,}"


def format_plural(count: int, noun: str) -> str:
    """A count with its noun: ``1 frame``, ``1,234 frames``, ``2 echoes``."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "ch", "echo")) else "s"
    return f"{count:,} {noun}{ending}"


def format_time(ts_ns: int | None) -> str:
    """A time stamp (ns since 1970) in UTC, to the microsecond as tcpdump prints it."""
    if ts_ns is None:
        return NONE
    seconds, rest = divmod(ts_ns, 1_000_000_000)
    day = datetime.fromtimestamp(seconds, UTC)
    return f"{day:%Y-%m-%d %H:%M:%S}.{rest // 1000:06d} UTC"


def _scaled(value: float, units: tuple[tuple[int, str], ...]) -> str:
    """Three significant digits in the largest unit that keeps them at 1 or more."""
    sign, size = ("−", -value) if value < 0 else ("", value)
    for scale, unit in units[:-1]:
        text = _three_digits(size / scale, whole=scale == 1)
        if text != "1,000" and size < scale * 1000:
            return f"{sign}{text} {unit}"
    scale, unit = units[-1]
    return f"{sign}{_three_digits(size / scale, whole=False)} {unit}"


def _three_digits(value: float, *, whole: bool) -> str:
    if whole and value == int(value):
        return f"{int(value):,}"
    decimals = next((d for d in (2, 1) if round(value, d) < 10 ** (3 - d)), 0)
    return f"{value:,.{decimals}f}"
