"""For arguments of which kinds each loop is built: `signatures.txt`, a line for each.

Written by running everything once, interpreted (`analyzer.app.warm`): ``make signatures``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analyzer.native.compiled import Loop

FILE = Path(__file__).with_name("signatures.txt")
_TOKEN = re.compile(r"\s*([\w.]+(?:\[[^\]]*\])?|\(|\)|,)")
_ARRAY = re.compile(r"(\w+)\[([CFA])(\d+)( unaligned)?\]")


class Signature(NamedTuple):
    """One line."""

    name: str
    """of the loop, with its module"""
    text: str
    """kinds of its arguments, as `analyzer.native.calling.text_of` writes them"""

    @property
    def loop(self) -> Loop:
        """Raises AttributeError, ImportError where there is none of that name (any more)."""
        module, _, function = self.name.rpartition(".")
        loop: Loop = getattr(import_module(module), function)
        return loop

    @property
    def kinds(self) -> tuple[Any, ...]:
        """As `analyzer.native.calling.take_apart` tells them."""
        return tuple(_Kinds(self.text).members(""))


def read_signatures(file: Path = FILE) -> list[Signature]:
    """All lines."""
    lines = file.read_text().splitlines()
    parts = (line.partition("(") for line in lines if line and not line.startswith("#"))
    return [Signature(name, rest.removesuffix(")")) for name, _, rest in parts]


def write_signatures(signatures: set[Signature], file: Path = FILE) -> None:
    """In order of names."""
    head = "# for arguments of which kinds each loop is built; written by: make signatures\n"
    lines = sorted(f"{one.name}({one.text})\n" for one in signatures)
    file.write_text(head + "".join(lines))


class _Kinds:
    """Reads kinds from their text."""

    def __init__(self, text: str) -> None:
        self._tokens: Iterator[str] = iter(_TOKEN.findall(text))

    def members(self, end: str) -> Iterator[Any]:
        """Up to this token; nothing: up to the end of the text."""
        before = ""
        for token in self._tokens:
            if token == "(":
                yield self._tuple(before)
                before = ""
                continue
            if before:
                yield _kind(before)
            before = "" if token in (",", ")") else token
            if token == end:
                return
        if before:
            yield _kind(before)

    def _tuple(self, name: str) -> Any:
        module, _, function = name.rpartition(".")
        kind = getattr(import_module(module), function) if name else tuple
        return kind, tuple(self.members(")"))


def _kind(text: str) -> Any:
    if array := _ARRAY.fullmatch(text):
        dtype, layout, dimensions, unaligned = array.groups()
        return np.dtype(dtype), int(dimensions), layout, not unaligned
    return np.dtype(text)
