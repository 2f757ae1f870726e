"""Who was seen receiving unicast, and where: a capture that could show the answers.

Where the topology is not known, a capture may be a bystander's: a switch shows it broadcasts only.
That nobody answered may then be said only of those who were seen getting frames of their own.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from analyzer.model.batch import Batch

_GROUP = np.uint64(1 << 40)
"""the bit of a MAC that makes it a group's"""
_MOST = 1 << 18


class Receivers:
    """(segment, MAC) of the receivers seen; only of vantages of which nothing else is known."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._unknown: set[int] = set()
        """segments whose vantages tell nothing of themselves"""

    def add(self, batch: Batch) -> None:
        """Note the receivers of one batch."""
        foreign = np.array([not vantage.ifindex for vantage in batch.vantages], np.bool_)
        if not foreign.any():
            return
        segments = np.asarray(batch.journeys.segment)
        self._unknown.update(segments[: len(foreign)][foreign].tolist())
        if len(self._seen) > _MOST:
            return
        mac, vantage = batch.frames["eth_dst"], batch.frames["vantage"]
        single = foreign[vantage] & (mac & _GROUP == 0)
        pairs = {"segment": segments[vantage[single]], "mac": mac[single]}
        self._seen.update(pl.DataFrame(pairs).unique().iter_rows())

    def may_hear(self, mac: str) -> bool:
        """Whether frames to this MAC would have been captured in one segment at least."""
        seen = {other for _, other in self._seen}
        return not self._unknown or int(mac.replace(":", ""), 16) in seen

    def may_receive(self, segment: int, mac: int) -> bool:
        """Whether frames to this MAC would have been captured."""
        return segment not in self._unknown or (segment, mac) in self._seen
