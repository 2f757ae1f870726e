"""What each file of a capture begins with, and which number an interface has in it.

Where files follow each other (-b), each has to be readable by itself. So each begins with the
section, and with the interfaces that there are at that time: what has vanished is in the files
before. A file numbers its interfaces in the order in which they stand in it, so from the first one
that is left out on its numbers are others than the capture's. An interface of which frames turn up
after all is described just before them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from analyzer.capture.encode import Bytes, Ints
from analyzer.capture.runs import map_epbs


class FileHead:
    """Of the present file, and what the next ones need."""

    def __init__(self) -> None:
        self.ids: Ints = np.zeros(0, np.int64)
        """number of each interface in the file; -1: it is not described there"""
        self.size = 0
        """bytes of it in the present file"""
        self._always = b""
        self._interfaces: list[bytes] = []
        self._names: list[tuple[int, bytes]] = []
        """(the first interface that came with them, block)"""
        self._count = 0
        """interfaces in the present file"""
        self._in_turn = True
        """whether these stand in the order of the capture: one that is described late does not"""

    def describe(self, block: bytes, *, always: bool) -> bytes:
        """A block that tells of no interface. always: else, as long as there are interfaces of
        those that are introduced next. Returns what has to be written."""
        if always:
            self._always += block
        else:
            self._names.append((len(self._interfaces), block))
        self.size += len(block)
        return block

    def introduce(self, blocks: Sequence[bytes]) -> bytes:
        """Further interfaces. Returns what has to be written."""
        first = len(self._interfaces)
        self._interfaces += blocks
        self.ids = np.concatenate([self.ids, np.full(len(blocks), -1, np.int64)])
        return self._number(range(first, len(self._interfaces)))

    def begin(self, living: Iterable[int]) -> bytes:
        """The start of another file. living: the interfaces that there are."""
        numbers = sorted(living)
        self.ids[:], self._count, self.size, self._in_turn = -1, 0, 0, True
        self._forget_names(numbers)
        names = b"".join(block for _, block in self._names)
        self.size = len(self._always) + len(names)
        return self._always + self._number(numbers) + names

    def fit(self, frames: Bytes, present: Ints) -> tuple[bytes, Bytes]:
        """Frames (EPBs) as this file has to have them, and what has to be written before.

        present: the numbers of their interfaces.
        """
        before = self._number(present[self.ids[present] < 0].tolist())
        fitting = frames.copy()
        map_epbs(fitting.view(np.uint32), self.ids)
        return before, fitting

    @property
    def is_plain(self) -> bool:
        """Whether all interfaces are described, and have the capture's own numbers."""
        return self._in_turn and self._count == len(self._interfaces)

    def _number(self, numbers: Iterable[int]) -> bytes:
        """Give the file's next numbers to these."""
        described = [self._interfaces[number] for number in numbers]
        for number in numbers:
            self._in_turn = self._in_turn and number == self._count
            self.ids[number] = self._count
            self._count += 1
        blocks = b"".join(described)
        self.size += len(blocks)
        return blocks

    def _forget_names(self, living: Sequence[int]) -> None:
        """Of those none of whose interfaces is there any more."""
        at = np.array(living, np.int64)
        firsts = [first for first, _ in self._names]
        begins = np.searchsorted(at, firsts)
        ends = np.searchsorted(at, [*firsts[1:], len(self._interfaces)]) if firsts else begins
        kept = (begins < ends).tolist()
        self._names = [one for one, keep in zip(self._names, kept, strict=True) if keep]
