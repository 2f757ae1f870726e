"""Compressed capture files: gzip (RFC 1952) by zlib, zstd (RFC 8878) by
``compression.zstd``.

zlib is driven by hand because `gzip.GzipFile` throws away what it had decompressed when
the file turns out to be cut: here that prefix is what is wanted. Both give out no more than
they are asked for, so that a few bytes which unpack to gigabytes do no harm.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol, TypeAlias

from analyzer.errors import EnvironmentProblem

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAGIC_LENGTH = 4

_READ_BYTES = 1 << 18
_BACKPORT = "backports.zstd"
_ZSTD_STEP = 1 << 14
"""of a block's 128 KiB"""
_GZIP_HEADER = 16 + zlib.MAX_WBITS
"""tells zlib to expect gzip's header and to check its CRC"""

ReadInto: TypeAlias = Callable[[memoryview], int]


class Fill(Protocol):
    """Fills a view with the next bytes; 0 at the end. ``fault`` then says what was wrong."""

    fault: str

    def __call__(self, view: memoryview, /) -> int: ...


def decompressor(start: bytes) -> Callable[[bytes, ReadInto], Fill] | None:
    """What undoes the compression that a file's first bytes tell; None where there is none.

    Raises EnvironmentProblem where it is zstd and no module for it is installed.
    """
    if start.startswith(GZIP_MAGIC):
        return _Gunzip
    if not start.startswith(ZSTD_MAGIC):
        return None
    try:
        _zstd()
    except ImportError:
        raise EnvironmentProblem(
            "the capture file is compressed with zstd, which needs the Python package "
            f"{_BACKPORT}: pip install {_BACKPORT}, or unpack the file with zstd -d"
        ) from None
    return _Unzstd


class _Packed:
    """The compressed bytes: those read already, then the rest of the stream."""

    def __init__(self, head: bytes, read_into: ReadInto) -> None:
        self._head = head
        self._read_into = read_into

    def read(self, size: int = _READ_BYTES) -> bytes:
        """At most ``size`` bytes; none at the end."""
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        buffer = bytearray(size)
        return bytes(buffer[: self._read_into(memoryview(buffer))])


class _Gunzip:
    """The plain bytes of all members of a gzip stream."""

    def __init__(self, head: bytes, read_into: ReadInto) -> None:
        self.fault = ""
        self._packed = _Packed(head, read_into)
        self._pending = b""
        self._member: Any = zlib.decompressobj(_GZIP_HEADER)

    def __call__(self, view: memoryview, /) -> int:
        plain = b""
        while not plain and self._member and not self.fault:
            plain = self._step(len(view))
        view[: len(plain)] = plain
        return len(plain)

    def _step(self, size: int) -> bytes:
        """Decompress a piece of input: at most ``size`` bytes, none where it gave none."""
        packed = self._pending or self._packed.read()
        if not packed:
            self.fault = "the gzip data is cut short"
            return b""
        before = self._member.copy()
        try:
            plain: bytes = self._member.decompress(packed, size)
        except zlib.error as error:
            self.fault = f"the gzip data is damaged ({error})"
            return _salvaged(before, packed, size)
        self._pending = self._member.unconsumed_tail
        if self._member.eof:
            self._next_member()
        return plain

    def _next_member(self) -> None:
        """Go on with a member that follows; anything else after the last one is padding."""
        following = self._member.unused_data
        while len(following) < len(GZIP_MAGIC) and (more := self._packed.read()):
            following += more
        another = following.startswith(GZIP_MAGIC)
        self._pending = following if another else b""
        self._member = zlib.decompressobj(_GZIP_HEADER) if another else None


def _salvaged(member: Any, packed: bytes, size: int) -> bytes:
    """What comes before the damage: zlib keeps nothing of a call that fails, so byte by byte."""
    plain = bytearray()
    try:
        for i in range(len(packed)):
            plain += member.decompress(packed[i : i + 1])
    except zlib.error:
        pass
    return bytes(plain[:size])


class _Unzstd:
    """The plain bytes of all frames of a zstd stream.

    Asked for a part of a block at a time, so that all that comes before damage is given out.
    """

    def __init__(self, head: bytes, read_into: ReadInto) -> None:
        self.fault = ""
        self._library = _zstd()
        self._packed = _Packed(head, read_into)
        self._pending = b""
        self._frame: Any = None
        """None between two frames"""
        self._ended = False

    def __call__(self, view: memoryview, /) -> int:
        plain = b""
        while not plain and not self.fault and not self._ended:
            plain = self._step(min(len(view), _ZSTD_STEP))
        view[: len(plain)] = plain
        return len(plain)

    def _step(self, size: int) -> bytes:
        """Decompress a piece of input: at most ``size`` bytes, none where it gave none."""
        packed = self._pending
        if not packed and (self._frame is None or self._frame.needs_input):
            packed = self._packed.read()
            if not packed:
                self._ended = True
                self.fault = "" if self._frame is None else "the zstd data is cut short"
                return b""
        self._frame = self._frame or self._library.ZstdDecompressor()
        try:
            plain: bytes = self._frame.decompress(packed, size)
        except self._library.ZstdError as error:
            self.fault = f"the zstd data is damaged ({error})"
            return b""
        self._pending = b""
        if self._frame.eof:
            self._pending, self._frame = self._frame.unused_data, None
        return plain


def _zstd() -> Any:
    """The standard library's module (PEP 784), or the same for older versions of Python."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else _BACKPORT)
