"""Words with their meaning beside them: a renderer chooses what good and bad news look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from analyzer.formatting.numbers import format_count

Level: TypeAlias = str
"""ok, bad, warn, or '' (neither)"""
STATE_LEVELS: Mapping[str, Level] = {
    "refused": "bad",
    "unanswered": "bad",
    "reset": "warn",
    "closed": "",
    "open": "",
    "bound": "ok",
    "offered": "warn",
    "released": "",
}
"""of the states that conversations end in"""


class Piece(Struct, frozen=True):
    """A few words of a line, and whether they are good news."""

    text: str
    level: Level = ""


def count_piece(count: int, level: Level = "") -> Piece:
    """A number of things. level: where there are any."""
    return Piece(format_count(count), level if count else "")


def state_piece(state: str) -> Piece:
    """The state of a conversation."""
    return Piece(state, STATE_LEVELS.get(state, ""))
