"""Which links of the host are new, and what has to be known of each before it can be captured.

A container's veth appears in steps: the pair is made, one end becomes a port of the bridge, the
other moves into the container's namespace. `Newcomers` is told all links whenever something
happens and says which ones are ready to be looked into. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from analyzer.topology.netlink import LinkFacts
from analyzer.topology.resolve import PAIRED

PATIENCE_S = 2.0
"""So long a new link may take to become what it will be; a busy engine takes half a second."""


class Candidate(Struct, frozen=True):
    """A new port of a bridge."""

    link: LinkFacts
    bridge: LinkFacts
    overdue: bool
    """it has been looked into for `PATIENCE_S`: what is not known by now stays unknown"""


class Newcomers:
    """Links that were not there when the capture began."""

    def __init__(self, settled: Iterable[int]) -> None:
        """settled: ifindexes of the links that need no look."""
        self._settled: dict[int, int | None] = dict.fromkeys(settled, _ANY)
        """ifindex → master at which it was settled; it is looked into again under another one"""
        self._since: dict[int, float] = {}
        self.unwanted: set[int] = set()
        """newly found to be nobody's: not to be heard; emptied by who takes them"""

    @property
    def waiting(self) -> bool:
        """Whether there are links that are not settled."""
        return bool(self._since)

    def settle(self, link: LinkFacts, *, wanted: bool) -> None:
        """It is captured, or it is not wanted."""
        self._settled[link.ifindex] = link.master
        self._since.pop(link.ifindex, None)
        if not wanted:
            self.unwanted.add(link.ifindex)

    def look(self, links: Iterable[LinkFacts], now_s: float) -> list[Candidate]:
        """The new ports of bridges that are not settled. now_s: the monotonic clock."""
        by_index = {link.ifindex: link for link in links}
        for gone in (self._settled.keys() | self._since.keys()) - by_index.keys():
            self._settled.pop(gone, None)
            self._since.pop(gone, None)
        candidates = []
        for link in by_index.values():
            if self._settled.get(link.ifindex, _NEVER) in (_ANY, link.master):
                continue
            since = self._since.setdefault(link.ifindex, now_s)
            overdue = now_s - since >= PATIENCE_S
            bridge = by_index.get(link.master or 0)
            if bridge is not None and bridge.kind == "bridge":
                candidates.append(Candidate(link, bridge, overdue))
            elif overdue or link.kind not in (*PAIRED, "bridge"):
                self.settle(link, wanted=False)
        return candidates


_ANY, _NEVER = -1, -2
