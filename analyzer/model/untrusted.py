"""What a capture file tells of itself in JSON: it may say anything, so each value is checked here.

Whatever is wrong raises one of `MALFORMED`; the reader of a block leaves the block out, and the
report says so once (`analyzer.findings.malformed_notes`).
"""

from __future__ import annotations

import json
import re
from typing import Any

MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""what reading nonsense as something else can raise"""
MOST = (1 << 63) - 1
"""numbers are kept with a sign in 64 bits; larger ones are none that were counted"""
_HALF = re.compile("[\ud800-\udfff]")


def parse_json(data: bytes | str) -> Any:
    """Raises ValueError where it is no JSON, and for what JSON cannot say: NaN and infinities."""
    try:
        return json.loads(data, parse_constant=_no_number, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def number(value: Any, most: int = MOST, least: int = 0) -> int:
    """A whole number. Raises ValueError."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is no number from {least} to {most}")
    return value


def text(value: Any) -> str:
    """A string of characters: JSON can also write halves of one, which no file can hold."""
    if not isinstance(value, str) or not (value.isascii() or _HALF.search(value) is None):
        raise ValueError(f"{value!r:.40} is no text")
    return value


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is no number")
    return value
