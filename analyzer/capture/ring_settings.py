"""How large the rings of a capture are, for the memory that the machine has to spare."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from analyzer.errors import UsageProblem

KIB, MIB = 1 << 10, 1 << 20

_SMALLEST_BLOCK = 128 * KIB
"""a power of two in which a frame of 64 KiB (GSO) fits with its headers"""
_LARGEST_RING = 1 << 30
"""the kernel does not refuse a ring beyond its memory: it kills processes to find room"""
_MANY = 64
"""rings whose timers nobody notices"""


class RingSettings(Struct, frozen=True):
    """How much the kernel keeps for us while we are busy."""

    block_size: int = 512 * KIB
    """bytes; a power of two. Big: fewer wake-ups; much bigger: memory that is hard to find"""
    block_count: int = 128
    """64 MiB: 0.4 s of 1 million small frames a second. Few frames use up blocks too, one each
    ``retire_ms``: many blocks are what lets us be late (here by 2.6 s)"""
    retire_ms: int = 20
    """a block that is not full is handed over after one to two of these"""
    inside_bytes: int = 64 * MIB
    """for all rings inside containers together, as long as each gets its minimum"""

    @property
    def size(self) -> int:
        """Bytes of a ring."""
        return self.block_size * self.block_count

    @classmethod
    def fitting(cls, available_bytes: int) -> RingSettings:
        """For a machine with so much memory to spare: a 128th of it, 32 to 128 MiB, and as much
        again for the rings inside. 128 MiB hold 0.1 s of 1 GB a second.
        """
        share = 1 << (max(1, available_bytes // 128).bit_length() - 1)
        whole = min(128 * MIB, max(32 * MIB, share))
        return cls(block_count=whole // cls().block_size, inside_bytes=whole)

    def check(self) -> None:
        """Raises UsageProblem with the value that cannot be."""
        size = self.block_size
        if size < _SMALLEST_BLOCK or size & (size - 1):
            raise UsageProblem(
                f"ring block size {size}: must be a power of two, {_SMALLEST_BLOCK} or more"
            )
        if self.block_count < 2:
            raise UsageProblem(f"ring block count {self.block_count}: must be 2 or more")
        if self.size > _LARGEST_RING:
            raise UsageProblem(
                f"ring of {self.size} bytes in all: must be {_LARGEST_RING} or less, "
                "it is kernel memory that nothing can swap out"
            )
        if not 1 <= self.retire_ms <= 60:
            raise UsageProblem(
                f"ring retire time {self.retire_ms} ms: must be 1 to 60, "
                "for frames to be in the file within 200 ms"
            )

    def inside(self, rings: int) -> RingSettings:
        """The settings of each of ``rings`` rings inside containers: 512 KiB to 64 MiB each.

        Each has a timer in the kernel; those of many rings go half as often.
        """
        return self._of_share(self.inside_bytes // max(1, rings), rings)

    def joining(self, rings: int) -> RingSettings:
        """Of the last of ``rings`` rings, where they join one after the other: a quarter.

        Those before it keep what they have, so that together they would take many times
        ``inside_bytes`` (1 + 1/2 + 1/3 …); and what is large takes longer to get, while a
        container is about to speak.
        """
        return self._of_share(self.inside_bytes // (4 * max(1, rings)), rings)

    def _of_share(self, share: int, rings: int) -> RingSettings:
        share = min(64 * MIB, max(512 * KIB, share))
        size = max(_SMALLEST_BLOCK, min(256 * KIB, 1 << ((share // 128).bit_length() - 1)))
        retire_ms = self.retire_ms if rings <= _MANY else min(60, 2 * self.retire_ms)
        return replace(self, block_size=size, block_count=share // size, retire_ms=retire_ms)


def available_bytes() -> int:
    """Memory that can be had without swapping (MemAvailable, proc(5)); 0 if nobody tells."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    kib = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(kib, "0")) * KIB
