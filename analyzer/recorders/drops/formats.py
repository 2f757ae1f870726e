"""What tracefs tells of its own binary layout, parsed: nothing of it is the same for ever.

``events/*/format`` names each field with offset and size, and spells the reasons out in its
``print fmt``; ``events/header_page`` tells how a page of the ring begins.
"""

from __future__ import annotations

import re

from msgspec import Struct

_FIELD = re.compile(r"^\s*field:(.*?);\s*offset:(\d+);\s*size:(\d+);", re.MULTILINE)
_ID = re.compile(r"^ID:\s*(\d+)", re.MULTILINE)
_SYMBOL = re.compile(r"\{\s*(0x[0-9a-fA-F]+|\d+),\s*\"(\w+)\"\s*\}")


class Field(Struct, frozen=True):
    offset: int
    size: int


class EventFormat(Struct, frozen=True):
    """An event's number in the ring, and where its fields lie in the record."""

    id: int
    fields: dict[str, Field]
    symbols: dict[int, str]
    """value → name, as the print format spells them"""

    def offset(self, name: str) -> int:
        """-1 where this kernel's event has no such field."""
        field = self.fields.get(name)
        return field.offset if field else -1


def parse_format(text: str) -> EventFormat:
    """An event's ``format`` file. Raises ValueError where it is none."""
    number = _ID.search(text)
    if not number:
        raise ValueError("no event format: it has no ID")
    symbols = {int(value, 0): name for value, name in _SYMBOL.findall(text)}
    return EventFormat(int(number[1]), _fields(text), symbols)


def parse_page_header(text: str) -> tuple[int, int]:
    """(offset of ``commit``, offset of the data) in a page of the ring.

    Raises ValueError where the text is not that of ``events/header_page``.
    """
    fields = _fields(text)
    if "commit" not in fields or "data" not in fields:
        raise ValueError("no ring page header: it has no commit or no data")
    return fields["commit"].offset, fields["data"].offset


def _fields(text: str) -> dict[str, Field]:
    """Name → place; ``__data_loc char[] name`` and ``char comm[16]`` are named plainly."""
    return {
        re.sub(r"\[.*", "", declared.split()[-1].lstrip("*")): Field(int(offset), int(size))
        for declared, offset, size in _FIELD.findall(text)
    }
