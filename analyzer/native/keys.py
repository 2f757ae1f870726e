"""Small numbers for 64-bit keys, in order of appearance, over any number of batches.

An open-addressing hash table in one array. Tables that grow batch by batch (endpoints, hops,
outcomes) are numbered with it: a number indexes arrays and lists, so nothing is sorted or joined.

Where a key stands depends on a number that is drawn anew in each process: who writes frames could
otherwise choose keys that all want one place, and make the search as long as the table.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import compiled, piece

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SECRET = int.from_bytes(os.urandom(8), "little")
"""of this process; results do not depend on it"""
_START = 1 << 10
"""slots of a new table; doubled where half are taken"""


@piece
def mix(a: Any, b: Any) -> Any:
    """Two 64-bit values into one, well spread (the finaliser of splitmix64)."""
    x = np.uint64(a) ^ (np.uint64(b) * _GOLDEN)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class KeyNumbers:
    """Numbers for keys. Keys are values of which equality is all that matters."""

    def __init__(self) -> None:
        self._slots = _empty(_START)
        self.count = 0

    def take(
        self, keys: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """([n] number of each key, rows at which a new number appeared, in order)."""
        numbers, fresh = np.empty(len(keys), np.int32), np.empty(len(keys), np.int64)
        row, before = 0, self.count
        while True:
            row, self.count = _take(keys, row, self._slots, self.count, numbers, fresh, before)
            if row == len(keys):
                return numbers, fresh[: self.count - before]
            self._grow()

    def find(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """[n] the number of each key; -1: it has none."""
        numbers = np.empty(len(keys), np.int32)
        _find(keys, self._slots, numbers)
        return numbers

    def keep(self, numbers: npt.NDArray[np.int64]) -> None:
        """Only these keys: they get the numbers 0, 1, 2 …, in this order."""
        slots = self._slots[:-1]
        taken = slots[slots[:, 1] != 0]
        keys = np.empty(self.count, np.uint64)
        keys[taken[:, 1].astype(np.intp) - 1] = taken[:, 0]
        self._slots, self.count = _empty(_START), 0
        self.take(keys[numbers])

    def _grow(self) -> None:
        slots = _empty(2 * (len(self._slots) - 1))
        _move(self._slots, slots)
        self._slots = slots


def _empty(size: int) -> npt.NDArray[np.uint64]:
    """So many free slots, and one row more, with `SECRET`."""
    slots = np.zeros((size + 1, 2), np.uint64)
    slots[size, 0] = SECRET
    return slots


@piece
def _slot(slots: Any, key: Any) -> Any:
    """The slot where the key is or would be. Its second word is the number plus one, 0: free."""
    size = len(slots) - 1
    mask = np.uint64(size - 1)
    at = mix(key, slots[size, 0]) & mask
    while slots[at, 1] != 0 and slots[at, 0] != key:
        at = (at + np.uint64(1)) & mask
    return at


@compiled
def _take(
    keys: Any, row: int, slots: Any, count: int, numbers: Any, fresh: Any, before: int
) -> Any:
    """(row, count): numbered up to there; the table is half full where row < len(keys)."""
    number = np.int64(-1)
    last = np.uint64(0)
    while row < len(keys):
        key = keys[row]
        if number < 0 or key != last:
            at = _slot(slots, key)
            if slots[at, 1] == 0:
                if 2 * count >= len(slots) - 1:
                    return row, count
                fresh[count - before] = row
                count += 1
                slots[at, 0] = key
                slots[at, 1] = np.uint64(count)
            number, last = np.int64(slots[at, 1]) - 1, key
        numbers[row] = number
        row += 1
    return row, count


@compiled
def _find(keys: Any, slots: Any, numbers: Any) -> None:
    for row in range(len(keys)):
        numbers[row] = np.int64(slots[_slot(slots, keys[row]), 1]) - 1


@compiled
def _move(old: Any, new: Any) -> None:
    for k in range(len(old) - 1):
        if old[k, 1] != 0:
            at = _slot(new, old[k, 0])
            new[at, 0], new[at, 1] = old[k, 0], old[k, 1]


def mixed(*columns: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """[n] one key of several columns, so that rows equal in all of them share it."""
    key = columns[0].astype(np.uint64)
    for column in columns[1:]:
        _mix_in(key, column.astype(np.uint64))
    return key


@compiled
def _mix_in(key: Any, column: Any) -> None:
    for row in range(len(key)):
        key[row] = mix(key[row], column[row])
