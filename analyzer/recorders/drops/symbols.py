"""Addresses of kernel code to ``function+0x1f``, from /proc/kallsyms.

It is read as an array: some hundred thousand lines, which the kernel takes a quarter of a second
to write. So a process reads it again only when other modules are loaded than at the last time, or
``kptr_restrict`` differs.
Where kptr_restrict(5) hides the addresses, all are 0 and every location stays unknown.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

KALLSYMS = "/proc/kallsyms"
_DECIDE = ("/proc/modules", "/proc/sys/kernel/kptr_restrict")
"""what else is in the list, and whether it tells addresses"""
_CODE = tuple(b"tTwW")
_FARTHEST = 1 << 20
"""no function is longer: an address beyond is in none that is listed"""
_HEX = np.zeros(256, np.uint64)
_HEX[list(b"0123456789")] = np.arange(10)
_HEX[list(b"abcdef")] = np.arange(10, 16)


class Symbols:
    """The functions of the running kernel by address."""

    def __init__(self, text: bytes) -> None:
        """text: that of /proc/kallsyms."""
        self._text = text
        self._start: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._address: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        width = text.find(b" ")
        if width > 0:
            self._index(np.frombuffer(text, np.uint8), width)

    @property
    def known(self) -> bool:
        """False: the kernel hides its addresses."""
        return len(self._address) > 0

    def name(self, address: int) -> str:
        """``nft_do_chain+0x3e8``; '' where unknown."""
        at = int(np.searchsorted(self._address, np.uint64(address), "right")) - 1
        if at < 0 or (offset := address - int(self._address[at])) > _FARTHEST:
            return ""
        start = int(self._start[at])
        line = self._text[start : self._text.find(b"\n", start)]
        return f"{line.split()[2].decode('utf-8', 'replace')}+{offset:#x}"

    def _index(self, data: npt.NDArray[Any], width: int) -> None:
        ends = np.flatnonzero(data == ord("\n"))
        start = np.concatenate([[0], ends[:-1] + 1])
        start = start[ends - start > width + 3]
        code = start[np.isin(data[start + width + 1], _CODE)]
        digits = _HEX[data[code[:, None] + np.arange(width)]]
        shift = np.arange(width - 1, -1, -1, dtype=np.uint64) * np.uint64(4)
        address = (digits << shift).sum(axis=1, dtype=np.uint64)
        code, address = code[address > 0], address[address > 0]
        order = np.argsort(address, kind="stable")
        self._start, self._address = code[order], address[order]


def read_symbols(path: str = KALLSYMS) -> Symbols:
    """Of the running kernel; none where the file cannot be read."""
    return _read(path, *map(_content, _DECIDE))


@lru_cache(maxsize=1)
def _read(path: str, *_decide: bytes) -> Symbols:
    return Symbols(_content(path))


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
