"""Who was seen receiving unicast, and where: a capture that could show the answers.

Where the topology is not known, a capture may be a bystander's: a switch shows it broadcasts only.
That nobody answered may then be said only of those who were seen getting frames of their own.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from analyzer.model.batch import Batch
from analyzer.net.ip import address_value

_GROUP = np.uint64(1 << 40)
"""the bit of a MAC that makes it a group's"""
_MOST = 1 << 18


class Receivers:
    """(segment, MAC) of the receivers seen; only of vantages of which nothing else is known."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()
        self._unknown: set[int] = set()
        """segments whose vantages tell nothing of themselves"""
        self._described = False
        """some vantage tells what it is"""
        self._ends: dict[str, set[tuple[int, int]]] = {"src": set(), "dst": set()}
        """addresses of IP (high, low) that sent unicast, and that were sent it"""

    def add(self, batch: Batch) -> None:
        """Note the receivers of one batch."""
        foreign = np.array([not vantage.ifindex for vantage in batch.vantages], np.bool_)
        self._described = self._described or not foreign.all()
        if not foreign.any():
            return
        if not self._described:
            self._note_addresses(batch)
        segments = np.asarray(batch.journeys.segment)
        self._unknown.update(segments[: len(foreign)][foreign].tolist())
        if len(self._seen) > _MOST:
            return
        mac, vantage = batch.frames["eth_dst"], batch.frames["vantage"]
        single = foreign[vantage] & (mac & _GROUP == 0)
        pairs = {"segment": segments[vantage[single]], "mac": mac[single]}
        self._seen.update(pl.DataFrame(pairs).unique().iter_rows())

    def _note_addresses(self, batch: Batch) -> None:
        frames = batch.frames
        unicast = (frames["ip_version"] > 0) & (frames["eth_dst"] & _GROUP == 0)
        for end, addresses in self._ends.items():
            if len(addresses) < _MOST:
                columns = {part: frames[f"{end}_{part}"][unicast] for part in ("hi", "lo")}
                addresses.update(pl.DataFrame(columns).unique().iter_rows())

    def hears(self, address: str) -> bool:
        """Whether what is sent to this address of IP would have been captured: of a file without
        topology only where something was."""
        if self._described or not self._unknown or len(self._ends["dst"]) >= _MOST:
            return True
        return address_value(address) in self._ends["dst"]

    @property
    def one_sided(self) -> bool:
        """Nobody who sent something was sent anything: a file without topology that shows one
        direction only."""
        known = self._described or not self._unknown or len(self._ends["dst"]) >= _MOST
        return not known and self._ends["src"].isdisjoint(self._ends["dst"])

    def may_hear(self, mac: str) -> bool:
        """Whether frames to this MAC would have been captured in one segment at least."""
        seen = {other for _, other in self._seen}
        return not self._unknown or int(mac.replace(":", ""), 16) in seen

    def may_receive(self, segment: int, mac: int) -> bool:
        """Whether frames to this MAC would have been captured."""
        return segment not in self._unknown or (segment, mac) in self._seen
