"""Rows that are only printed: in memory while they are few, else in a file that nobody else sees.

A report of every packet of a long capture has more rows than memory has room for, and a renderer
goes through them once.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, TextIO, overload

from msgspec import to_builtins

from analyzer.model.report import PacketRow

IN_MEMORY = 20_000
"""rows; about a kilobyte each"""


class PacketSpool(Sequence[PacketRow]):
    """Packets in the order in which they were added."""

    def __init__(self) -> None:
        self._rows: list[PacketRow] = []
        self._file: TextIO | None = None
        self._count = 0

    def add(self, row: PacketRow) -> None:
        """One more."""
        self._count += 1
        if self._file is None and len(self._rows) < IN_MEMORY:
            self._rows.append(row)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 (it goes with this object)
                "w+", encoding="utf-8", prefix="vethscope-"
            )
        self._file.write(json.dumps(to_builtins(row), ensure_ascii=False) + "\n")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[PacketRow]:
        yield from self._rows
        if self._file is not None:
            self._file.seek(0)
            for line in self._file:
                yield PacketRow(**json.loads(line))

    @overload
    def __getitem__(self, at: int) -> PacketRow: ...
    @overload
    def __getitem__(self, at: slice) -> list[PacketRow]: ...
    def __getitem__(self, at: int | slice) -> PacketRow | list[PacketRow]:
        if isinstance(at, int) and 0 <= at < len(self._rows):
            return self._rows[at]
        return list(self)[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __deepcopy__(self, memo: dict[int, Any]) -> list[PacketRow]:
        raise TypeError("packets are gone through, not copied")
