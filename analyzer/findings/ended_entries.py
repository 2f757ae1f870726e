"""What the rules about translation share: entries of connection tracking, and when they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analyzer.model.nat_entries import ENDED, NatEntries
from analyzer.net.ip import TCP

HEARD_LATE_NS = 1_000_000_000
"""the kernel tells of an end a moment after it"""


def entry_ended_ns(nat: NatEntries, rows: Sequence[Mapping[str, Any]], netns: int) -> int:
    """When the entry ended that translated the source of these TCP packets, and before all of
    them; 0: none is known. rows: of `analyzer.flows.untranslated.Untranslated`."""
    if not len(nat) or any(row["protocol"] != "tcp" for row in rows):
        return 0
    entries = nat.rows
    first_ns = min(row["first_ns"] for row in rows)
    ends = {(row["src"], row["dst"]) for row in rows}
    ours = (entries["protocol"] == TCP) & (nat.netns == netns)
    ours &= entries["back_dst_lo"] != entries["src_lo"]
    found = [
        entries[ours & (entries["src_lo"] == source) & (entries["dst_lo"] == target)]
        for source, target in ends
    ]
    lasting = [some["ts_ns"].max() for some in found if len(some) and some["what"][-1] == ENDED]
    if len(lasting) != len(ends) or max(lasting) > first_ns + HEARD_LATE_NS:
        return 0
    return int(np.max(lasting))
