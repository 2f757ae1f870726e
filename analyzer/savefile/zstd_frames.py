"""Where the frames of a zstd stream end (RFC 8878, 3.1): nothing is decompressed here.

The library gives out what a cut stream holds and then just ends, as if it were whole. So the
headers of frames and blocks are followed beside it, from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable

MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""behind a byte of 0x50 to 0x5f"""
_MAGIC, _SKIP_SIZE, _DESCRIPTOR, _BLOCK = 4, 4, 1, 3
_CHECKSUM = 4
_SINGLE_SEGMENT, _HAS_CHECKSUM = 0x20, 0x04
_DICTIONARY_ID = (0, 1, 2, 4)
_CONTENT_SIZE = (0, 2, 4, 8)
_RLE = 1


class ZstdFrames:
    """Fed with a stream's bytes; ``ended`` where they end with a frame."""

    def __init__(self) -> None:
        self._skip = 0
        """bytes to come that are no header"""
        self._header = b""
        """those of the next header that are there"""
        self._want = _MAGIC
        """length of the next header"""
        self._take: Callable[[bytes], None] = self._frame
        self._checksum = 0
        self._lost = False
        """no frame stood where one had to: that is the decompressor's to tell"""

    @property
    def ended(self) -> bool:
        """Whether nothing is missing."""
        at_frame = self._want == _MAGIC and self._take == self._frame
        return self._lost or (at_frame and not self._header and not self._skip)

    def feed(self, packed: bytes) -> None:
        """Follow the headers in the next bytes."""
        at = 0
        while at < len(packed) and not self._lost:
            if self._skip:
                step = min(self._skip, len(packed) - at)
                self._skip -= step
            else:
                step = min(self._want - len(self._header), len(packed) - at)
                self._header += packed[at : at + step]
                if len(self._header) == self._want:
                    header, self._header = self._header, b""
                    self._take(header)
            at += step

    def _frame(self, magic: bytes) -> None:
        if magic == MAGIC:
            self._want, self._take = _DESCRIPTOR, self._descriptor
        elif magic[1:] == _SKIPPABLE and magic[0] & 0xF0 == 0x50:
            self._want, self._take = _SKIP_SIZE, self._skippable
        else:
            self._lost = True

    def _skippable(self, size: bytes) -> None:
        self._skip = int.from_bytes(size, "little")
        self._want, self._take = _MAGIC, self._frame

    def _descriptor(self, header: bytes) -> None:
        flags = header[0]
        single = flags & _SINGLE_SEGMENT
        content = _CONTENT_SIZE[flags >> 6] or (1 if single else 0)
        self._skip = (0 if single else 1) + _DICTIONARY_ID[flags & 3] + content
        self._checksum = _CHECKSUM if flags & _HAS_CHECKSUM else 0
        self._want, self._take = _BLOCK, self._block

    def _block(self, header: bytes) -> None:
        word = int.from_bytes(header, "little")
        self._skip = 1 if word >> 1 & 3 == _RLE else word >> 3
        if word & 1:
            self._skip += self._checksum
            self._want, self._take = _MAGIC, self._frame
