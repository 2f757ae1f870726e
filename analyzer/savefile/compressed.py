"""Compressed capture files: gzip (RFC 1952) by zlib, zstd (RFC 8878) by ``zstandard``.

zlib is driven by hand because `gzip.GzipFile` throws away what it had decompressed when
the file turns out to be cut: here that prefix is what is wanted. Both give out no more than
they are asked for, so that a few bytes which unpack to gigabytes do no harm.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias

from analyzer.errors import EnvironmentProblem
from analyzer.savefile.zstd_frames import MAGIC as ZSTD_MAGIC
from analyzer.savefile.zstd_frames import ZstdFrames

GZIP_MAGIC = b"\x1f\x8b"
MAGIC_LENGTH = 4

_READ_BYTES = 1 << 18
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
    if not find_spec("zstandard"):
        raise EnvironmentProblem(
            "the capture file is compressed with zstd, which needs the Python package "
            "zstandard: pip install zstandard, or unpack the file with zstd -d"
        )
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
        self._library = import_module("zstandard")
        self._packed = _Packed(head, read_into)
        self._frames = ZstdFrames()
        self._reader = self._library.ZstdDecompressor().stream_reader(self, read_across_frames=True)

    def read(self, size: int) -> bytes:
        """Packed bytes for the decompressor, which does not tell where they end too early."""
        packed = self._packed.read(size)
        self._frames.feed(packed)
        return packed

    def __call__(self, view: memoryview, /) -> int:
        if self.fault:
            return 0
        try:
            count: int = self._reader.readinto(view[:_ZSTD_STEP])
        except self._library.ZstdError as error:
            self.fault = f"the zstd data is damaged ({error})"
            return 0
        if not count and not self._frames.ended:
            self.fault = "the zstd data is cut short"
        return count
