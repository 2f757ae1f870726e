"""``--since`` and ``--until``: what a person writes for a time, as nanoseconds. Pure.

::

    2.5  +2.5                           seconds after the capture's first frame
    14:03:07  14:03:07.25               local time, on the day of the first frame
    2026-11-23T14:03:07.25              local date and time (a space does for the T)
    2026-11-23T14:03:07Z  …+01:00       with its offset from UTC

A window holds the frames from ``since`` on and before ``until``: two windows that meet at a
time have every frame once.
"""

from __future__ import annotations

import re
from datetime import date, datetime

from msgspec import Struct

from analyzer.errors import UsageProblem

FORMS = (
    "seconds after the first frame (2.5), HH:MM:SS[.frac] of its day, "
    "or a date and time (2026-11-23T14:03:07.25, with Z or +01:00 if not local)"
)
MIN_NS, MAX_NS = -(1 << 63), (1 << 63) - 1
"""what a column of stamps can hold; a time beyond is as far as that"""

_S = 1_000_000_000
_CLOCK = r"(?P<clock>\d\d:\d\d:\d\d)(?:[.,](?P<fraction>\d+))?"
_SECONDS = re.compile(r"\+?(?P<whole>\d+)(?:\.(?P<fraction>\d*))?|\+?\.(?P<only>\d+)", re.ASCII)
_TIME = re.compile(_CLOCK, re.ASCII)
_DATE_TIME = re.compile(
    rf"(?P<date>\d{{4}}-\d\d-\d\d)[Tt ]{_CLOCK} ?(?P<offset>[Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)


class Moment(Struct, frozen=True):
    """A time as it was written; `at` makes nanoseconds of it when the capture is known."""

    text: str
    option: str
    """``--since`` or ``--until``, for messages"""

    def __post_init__(self) -> None:
        self.at(0)

    def at(self, first_ns: int) -> int:
        """Nanoseconds since the epoch. first_ns: the capture's first frame.

        Raises UsageProblem where it is none of the forms, or no time of any clock (25:00:00).
        """
        text = self.text.strip()
        try:
            moment_ns = _read(text, first_ns)
        except (ValueError, OverflowError, OSError) as error:
            raise UsageProblem(f"{self.option} {self.text}: {error}; write {FORMS}") from None
        if moment_ns is None:
            raise UsageProblem(f"{self.option} {self.text!r} is no time; write {FORMS}")
        return min(max(moment_ns, MIN_NS), MAX_NS)


class Window(Struct, frozen=True):
    """What is wanted of a capture; an end that is None is open."""

    since: Moment | None = None
    until: Moment | None = None

    def bounds(self, first_ns: int) -> tuple[int, int]:
        """(from, before) in ns since the epoch. Raises UsageProblem where nothing lies between."""
        since = self.since.at(first_ns) if self.since else MIN_NS
        until = self.until.at(first_ns) if self.until else MAX_NS
        if self.since and self.until and since >= until:
            raise UsageProblem(
                f"--since {self.since.text} is not before --until {self.until.text}: "
                "no frame can lie between them; give a later --until"
            )
        return since, until


def parse_window(since: str | None, until: str | None) -> Window | None:
    """The window that the options ask for; None where there are none. Raises UsageProblem."""
    if since is None and until is None:
        return None
    return Window(
        None if since is None else Moment(since, "--since"),
        None if until is None else Moment(until, "--until"),
    )


def _read(text: str, first_ns: int) -> int | None:
    """Nanoseconds; None where the text has none of the forms. Raises ValueError for 25:00:00."""
    if match := _SECONDS.fullmatch(text):
        seconds = int(match["whole"] or 0)
        return first_ns + seconds * _S + _nanoseconds(match["fraction"] or match["only"])
    if match := _TIME.fullmatch(text):
        day = datetime.fromtimestamp(first_ns // _S).date()
        return _local(day, match["clock"], "") + _nanoseconds(match["fraction"])
    if match := _DATE_TIME.fullmatch(text):
        day = date.fromisoformat(match["date"])
        offset = (match["offset"] or "").upper()
        return _local(day, match["clock"], offset) + _nanoseconds(match["fraction"])
    return None


def _nanoseconds(fraction: str | None) -> int:
    """``25`` → 250_000_000; digits beyond nanoseconds are cut."""
    return int((fraction or "")[:9].ljust(9, "0"))


def _local(day: date, clock: str, offset: str) -> int:
    """Whole seconds of that day and time, in ns; without an offset the machine's own zone."""
    return int(datetime.fromisoformat(f"{day}T{clock}{offset}").timestamp()) * _S
