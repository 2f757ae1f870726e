"""vethscope's own blocks of a file, by what they tell."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.recorders.conntrack.proxies import MAGIC as PROXIES
from analyzer.recorders.conntrack.record import MAGIC as CONNTRACK
from analyzer.recorders.evidence.record import MAGIC as EVIDENCE


def is_evidence(block: bytes) -> bool:
    """Whether it tells of counters, state or events."""
    return block.startswith(EVIDENCE)


def sort_own(blocks: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """(those that tell of losses, those that tell of translations)."""
    tracked = [block for block in blocks if block.startswith((CONNTRACK, PROXIES))]
    apart = (CONNTRACK, PROXIES, EVIDENCE)
    return [block for block in blocks if not block.startswith(apart)], tracked


def needed_at_start(blocks: Sequence[bytes]) -> list[bytes]:
    """Those that tell of translations, and one of the others as a sign that there are some."""
    others, tracked = sort_own(blocks)
    return others[:1] + tracked
