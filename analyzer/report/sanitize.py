"""The one place where captured text is made harmless before it is shown.

Interface and container names come from other people: the kernel allows ESC sequences and
``<b>`` in them. Whatever could steer a terminal or turn the direction of a line is replaced
by a visible escape; escaping for HTML comes on top (`analyzer.report.html.markup`).
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")

_UNSAFE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 (ESC, newline, tab …), DEL, C1
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"  # bidi, zero width
    "\ud800-\udfff"  # surrogates: undecodable bytes, cannot be encoded
    "\ufffe\uffff"  # no characters: XML with them is not well-formed
    "\U000e0000-\U000e007f"  # tag characters, invisible
    "]"
)


def sanitize(text: str) -> str:
    r"""The text with control, bidi, invisible characters and surrogates as ``\x1b``, ``\u202e``."""
    return _UNSAFE.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sanitized(value: T) -> T:
    """A copy of a report (dataclasses, lists, dicts at any depth) with every string sanitized."""
    return _walk(value)  # type: ignore[no-any-return]


def _walk(value: Any) -> Any:
    if isinstance(value, str):
        return sanitize(value)
    if isinstance(value, list):
        return [_walk(inner) for inner in value]
    if isinstance(value, dict):
        return {_walk(key): _walk(inner) for key, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _walk(getattr(value, f.name)) for f in fields(value)})
    return value
