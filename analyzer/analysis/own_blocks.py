"""vethscope's own blocks of a file, by what they tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct, field

from analyzer.model.payload_cuts import MAGIC as PAYLOAD
from analyzer.recorders.conntrack.proxies import MAGIC as PROXIES
from analyzer.recorders.conntrack.record import MAGIC as CONNTRACK
from analyzer.recorders.evidence.record import MAGIC as EVIDENCE
from analyzer.recorders.own_blocks import malformed_kind


def is_evidence(block: bytes) -> bool:
    """Whether it tells of counters, state or events, or of frames that were cut."""
    return block.startswith((EVIDENCE, PAYLOAD))


def sort_own(blocks: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """(those that tell of losses, those that tell of translations)."""
    tracked = [block for block in blocks if block.startswith((CONNTRACK, PROXIES))]
    apart = (CONNTRACK, PROXIES, EVIDENCE, PAYLOAD)
    return [block for block in blocks if not block.startswith(apart)], tracked


def needed_at_start(blocks: Sequence[bytes]) -> list[bytes]:
    """Those that tell of translations, and one of the others as a sign that there are some."""
    others, tracked = sort_own(blocks)
    return others[:1] + tracked


class Malformed(Struct):
    """What vethscope writes of itself and cannot have written so."""

    blocks: Counter[str] = field(default_factory=Counter)
    """by kind"""
    sections: set[int] = field(default_factory=set)
    """numbers of files"""

    def pass_over(self, blocks: Sequence[bytes]) -> list[bytes]:
        """The blocks without those."""
        kinds = [malformed_kind(block) for block in blocks]
        self.blocks.update(filter(None, kinds))
        return [block for block, kind in zip(blocks, kinds, strict=True) if not kind]

    def counts(self, *, interfaces: int, statistics: int) -> dict[str, int]:
        """Kind → how many were left out. interfaces, statistics: so many of these, too."""
        counts = {
            "the section": len(self.sections),
            "interfaces": interfaces,
            "statistics": statistics,
            **self.blocks,
        }
        return {kind: count for kind, count in counts.items() if count}
