"""The one place where captured text is made harmless before it is shown.

Interface and container names come from other people: the kernel allows ESC sequences and
``<b>`` in them. Whatever could steer a terminal or turn the direction of a line is replaced
by a visible escape; escaping for HTML comes on top (`analyzer.report.html.markup`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

T = TypeVar("T")

_CONTROLS = "\x00-\x1f\x7f-\x9f"
"""C0 (ESC, newline, tab …), DEL, C1"""
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
)
"""what displays ignore, bidi controls among it (Unicode, Default_Ignorable_Code_Point)"""
_DECEIVING = (
    f"{_IGNORABLE}\u2028\u2029\ufff9-\ufffb"
    "\ud800-\udfff"  # surrogates: undecodable bytes, cannot be encoded
    "\ufffe\uffff"  # no characters: XML with them is not well-formed
)
_WITHOUT_TEXT = frozenset({int, float, bool, type(None)})
_UNSAFE = re.compile(f"[{_CONTROLS}{_DECEIVING}]")
_UNSAFE_IN_JSON = re.compile(f"[\x7f-\x9f{_DECEIVING}]")


def sanitize(text: str) -> str:
    r"""The text with control, bidi, invisible characters and surrogates as ``\x1b``, ``\u202e``."""
    return _UNSAFE.sub(_escape, text)


def sanitize_lines(text: str) -> str:
    """The same for a text of several lines: line breaks stay."""
    return "\n".join(map(sanitize, text.split("\n")))


def escape_json(text: str) -> str:
    r"""A JSON text with DEL, C1, bidi and invisible characters as ``\u202e``: its value stays.

    JSON itself escapes C0; outside strings none of these can stand.
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return _UNSAFE_IN_JSON.sub(_escape_in_json, text)


def _escape_in_json(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sanitized(value: T) -> T:
    """A report (structs, sequences, dicts at any depth) with all strings sanitized; what is
    clean as it is, is the same object."""
    return _walk(value)  # type: ignore[no-any-return]


def _walk(value: Any) -> Any:
    kind: Any = type(value)
    if kind in _WITHOUT_TEXT:
        return value
    if isinstance(value, str):
        return value if value.isascii() and value.isprintable() else sanitize(value)
    if isinstance(value, list | tuple):
        return kind(map(_walk, value))
    if isinstance(value, Mapping):
        return {_walk(key): _walk(inner) for key, inner in value.items()}
    if isinstance(value, Struct):
        walked = {name: _walk(getattr(value, name)) for name in value.__struct_fields__}
        changed = {name: new for name, new in walked.items() if new is not getattr(value, name)}
        return replace(value, **changed) if changed else value
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return _SanitizedRows(value)
    return value


class _SanitizedRows(Sequence[Any]):
    """Rows that may be more than memory has room for, sanitized one by one as they are read."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Any]:
        return map(_walk, self._rows)

    def __getitem__(self, at: Any) -> Any:
        return _walk(self._rows[at])
