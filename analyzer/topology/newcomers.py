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
"""So long after it came up a new link may take to become what it will be, and to be named."""
_SILENT_S = 30.0
"""a link that is not up says nothing: a busy engine takes seconds to make a container"""


class Candidate(Struct, frozen=True):
    """A new port of a bridge."""

    link: LinkFacts
    bridge: LinkFacts
    overdue: bool
    """it has been looked into for `PATIENCE_S`: what is not known by now stays unknown"""

    @property
    def moved(self) -> bool:
        """Whether its other end is in another namespace."""
        return self.link.link_nsid is not None


class Newcomers:
    """Links that were not there when the capture began."""

    def __init__(self, settled: Iterable[int]) -> None:
        """settled: ifindexes of the links that need no look."""
        self._settled: dict[int, int | None] = dict.fromkeys(settled, _ANY)
        """ifindex → master at which it was settled; it is looked into again under another one"""
        self._since: dict[int, float] = {}
        self._up_since: dict[int, float] = {}
        self.unwanted: set[int] = set()
        """newly found to be nobody's: not to be heard; emptied by who takes them"""

    @property
    def waiting(self) -> bool:
        """Whether there are links that are not settled."""
        return bool(self._since)

    def settle(self, link: LinkFacts, *, wanted: bool) -> None:
        """It is captured, or it is not wanted."""
        self._settled[link.ifindex] = link.master
        self._forget(link.ifindex)
        if not wanted:
            self.unwanted.add(link.ifindex)

    def look(self, links: Iterable[LinkFacts], now_s: float) -> list[Candidate]:
        """The new ports of bridges that are not settled. now_s: the monotonic clock."""
        by_index = {link.ifindex: link for link in links}
        for gone in (self._settled.keys() | self._since.keys()) - by_index.keys():
            self._settled.pop(gone, None)
            self._forget(gone)
        candidates = []
        for link in by_index.values():
            if self._settled.get(link.ifindex, _NEVER) in (_ANY, link.master):
                continue
            overdue = self._is_overdue(link, now_s)
            bridge = by_index.get(link.master or 0)
            if bridge is not None and bridge.kind == "bridge":
                candidates.append(Candidate(link, bridge, overdue))
            elif overdue or link.kind not in (*PAIRED, "bridge"):
                self.settle(link, wanted=False)
        return candidates

    def _is_overdue(self, link: LinkFacts, now_s: float) -> bool:
        since_s = self._since.setdefault(link.ifindex, now_s)
        up_s = self._up_since.setdefault(link.ifindex, now_s) if link.running else now_s
        return now_s - up_s >= PATIENCE_S or now_s - since_s >= _SILENT_S

    def _forget(self, ifindex: int) -> None:
        self._since.pop(ifindex, None)
        self._up_since.pop(ifindex, None)


_ANY, _NEVER = -1, -2
