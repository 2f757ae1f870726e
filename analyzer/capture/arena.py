"""One stretch of address space for all rings of a capture.

A compiled loop that merges rings sees them as one array, so they have to lie in memory that is
ours from end to end. The stretch is reserved first (``PROT_NONE``: it costs no memory, and whoever
touches it between rings is stopped by the kernel). A ring is then mapped over a part of it with
``MAP_FIXED``, which Python's `mmap` does not offer;
when the ring closes, its part is reserved again.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import threading

import numpy as np

from analyzer.capture.encode import Views, views
from analyzer.capture.ring_settings import RingSettings

_TIMES = 8
"""rings come and go, and those of later containers are shares of the same memory once more"""
_PROT_NONE = 0
_MAP_FIXED = 0x10
_RESERVED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def _map(address: int | None, size: int, protection: int, flags: int, fd: int = -1) -> int:
    """mmap(2). Raises OSError."""
    address_found = _libc.mmap(address, size, protection, flags, fd, 0)
    if address_found == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(address_found)


class _Stretch:
    """Reserved addresses, as numpy makes an array of them; free when the last array is gone."""

    def __init__(self, size: int) -> None:
        self._size = 0
        self.address = _map(None, size, _PROT_NONE, _RESERVED)
        self._size = size
        self.__array_interface__ = {
            "data": (self.address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }

    def __del__(self) -> None:
        if self._size:
            _libc.munmap(self.address, self._size)


class Arena:
    """Reserved addresses; ``memory`` is all of it, whatever is mapped there at the moment."""

    def __init__(self, size: int) -> None:
        """``size``: bytes, a multiple of the page size. Raises OSError."""
        stretch = _Stretch(size)
        self._address = stretch.address
        self.memory: Views = views(np.asarray(stretch))
        self._free = [(0, size)]
        """(start, end) of what no ring is mapped to, in order, never adjoining"""
        self._lock = threading.Lock()

    def map(self, fd: int, size: int) -> int | None:
        """Map ``size`` bytes of a descriptor; their offset, None where there is no room.

        Safe in threads. Raises OSError; then the room is free again.
        """
        offset = self._take(size)
        if offset is None:
            return None
        shared, protection = mmap.MAP_SHARED | _MAP_FIXED, mmap.PROT_READ | mmap.PROT_WRITE
        try:
            _map(self._address + offset, size, protection, shared, fd)
        except OSError:
            self.unmap(offset, size)
            raise
        return offset

    def unmap(self, offset: int, size: int) -> None:
        """Reserve a part again. Safe in threads."""
        _map(self._address + offset, size, _PROT_NONE, _RESERVED | _MAP_FIXED)
        with self._lock:
            self._free.append((offset, offset + size))
            self._join_free()

    def part(self, offset: int, size: int) -> Views:
        return views(self.memory.octets[offset : offset + size])

    def _take(self, size: int) -> int | None:
        """The first free room that is large enough."""
        with self._lock:
            for number, (start, end) in enumerate(self._free):
                if end - start >= size:
                    self._free[number] = (start + size, end)
                    return start
        return None

    def _join_free(self) -> None:
        joined: list[tuple[int, int]] = []
        for start, end in sorted(self._free):
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], end)
            elif start < end:
                joined.append((start, end))
        self._free = joined


def reserve_arena(settings: RingSettings) -> Arena | None:
    """Address space for several times what the rings of a host take; None where it is limited."""
    with contextlib.suppress(OSError, OverflowError):
        return Arena(_TIMES * (settings.size + settings.inside_bytes))
    return None
