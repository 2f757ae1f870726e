"""Conditions of the command line: ``-a duration:10``, ``-b filesize:1000``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from analyzer.capture.options import Limits
from analyzer.capture.series import Rotation
from analyzer.errors import UsageProblem

_UNITS = {"duration": "SECONDS", "packets": "N", "filesize": "KB", "files": "N"}
_AUTOSTOP = ("duration", "packets", "filesize", "files")
_ROTATION = ("filesize", "duration", "packets", "files")


def parse_autostop(texts: Sequence[str], packets: int | None = None) -> Limits:
    """``duration:10`` → when the capture ends. Raises UsageProblem.

    packets: what ``-c`` says; the lesser of two limits ends it.
    """
    numbers = _parse("-a", texts, _AUTOSTOP)
    limits = [one for one in (packets, _whole(numbers, "packets")) if one is not None]
    return Limits(
        max_packets=min(limits, default=None),
        max_seconds=numbers.get("duration"),
        max_kilobytes=_whole(numbers, "filesize"),
        max_files=_whole(numbers, "files"),
    )


def parse_rotation(texts: Sequence[str]) -> Rotation | None:
    """``filesize:1000``, ``files:5`` → when a file is full, how many are kept. UsageProblem."""
    if not texts:
        return None
    numbers = _parse("-b", texts, _ROTATION)
    return Rotation(
        max_kilobytes=_whole(numbers, "filesize"),
        max_seconds=numbers.get("duration"),
        max_packets=_whole(numbers, "packets"),
        keep=_whole(numbers, "files"),
    )


def _whole(numbers: Mapping[str, float], word: str) -> int | None:
    return int(numbers[word]) if word in numbers else None


def _parse(option: str, texts: Sequence[str], words: Sequence[str]) -> dict[str, float]:
    """Word → its number; the last of several counts."""
    numbers: dict[str, float] = {}
    for text in texts:
        word, _, value = text.partition(":")
        try:
            number = float(value) if word == "duration" else int(value)
        except ValueError:
            number = None
        if word not in words or number is None:
            forms = ", ".join(f"{word}:{_UNITS[word]}" for word in words)
            raise UsageProblem(f"{option} {text}: use one of {forms}")
        if not 0 < number < math.inf:
            raise UsageProblem(f"{option} {text}: must be more than 0")
        numbers[word] = number
    return numbers
